"""Images in folders."""

import os
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from src.data.arrays import images_of
from src.data.folder import Folder
from src.data.images import Images
from src.errors import UserError
from tests.helpers.images import bars, write_pngs
from tests.helpers.users import bound_by_permissions


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return tmp_path / "root"


def read(path: Path, root: Path, size: int | None = None, grey: bool = False) -> Images:
    return images_of(Folder(str(path), str(root), size, grey).arrays(), str(path), 0)


def test_images_have_the_order_of_their_names_and_their_pixels(tmp_path: Path, root: Path) -> None:
    path = write_pngs(tmp_path / "bars", bars(300, 1), bars(80, 2))  # 0.png to 299.png
    assert read(path, root).sha256 == Images(*bars(300, 1), *bars(80, 2)).sha256


def test_a_second_start_reads_the_cache_until_a_file_changes(
    tmp_path: Path, root: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    path = write_pngs(tmp_path / "bars", bars(30, 1), bars(30, 2))
    first = read(path, root)
    assert f"reading 60 images of {path}" in capsys.readouterr().err
    with monkeypatch.context() as patched:
        patched.setattr(Folder, "_image", None)
        assert read(path, root).sha256 == first.sha256
    assert capsys.readouterr().err == ""
    image = next((path / "train").glob("*/*.png"))
    Image.fromarray(np.zeros((28, 28), np.uint8)).save(image)
    changed = read(path, root)
    assert changed.sha256 != first.sha256
    for cache in (root / ".images").glob("*.npz"):
        cache.write_bytes(cache.read_bytes()[:-50])
    assert read(path, root).sha256 == changed.sha256  # a damaged cache is replaced
    assert read(path, root, size=14).shape == (1, 14, 14)


def test_files_that_exchange_their_classes_are_read_again(tmp_path: Path, root: Path) -> None:
    """`mv` keeps name, size and time of modification."""
    for label in ("a", "b"):
        for number in range(4):
            brightness = 10 * number + 100 * (label == "b")
            save(tmp_path / "data" / "train" / label / f"{number}.bmp", np.full((16, 16), brightness, np.uint8))
    for file in (tmp_path / "data").rglob("*.bmp"):
        os.utime(file, ns=(10**18, 10**18))
    of_class = {name: tmp_path / "data" / "train" / name for name in "ab"}
    first = Folder(str(tmp_path / "data"), str(root)).arrays()
    assert [first["x_train"][first["y_train"] == label].mean() for label in (0, 1)] == [15, 115]
    aside = of_class["a"] / "2.bmp"
    aside.rename(tmp_path / "2.bmp")
    (of_class["b"] / "2.bmp").rename(aside)
    (tmp_path / "2.bmp").rename(of_class["b"] / "2.bmp")
    found = Folder(str(tmp_path / "data"), str(root)).arrays()
    assert [found["x_train"][found["y_train"] == label].mean() for label in (0, 1)] == [40, 90]


@pytest.mark.parametrize("way", ["labels", "type", "no hash"])
def test_a_cache_that_another_tool_has_written_is_replaced(
    way: str, tmp_path: Path, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write_pngs(tmp_path / "bars", bars(30, 1), bars(30, 2))
    first = Folder(str(path), str(root)).arrays()
    (cache,) = (root / ".images").glob("*.npz")
    with np.load(cache) as file:
        stored = dict(file)
    if way == "labels":
        stored["y_train"] = stored["y_train"][::-1]
    elif way == "type":
        stored["y_train"] = stored["y_train"].view(np.uint64)  # the same bytes
    else:
        del stored["sha256"]
    np.savez(cache, **stored)
    for _ in range(2):
        found = Folder(str(path), str(root)).arrays()
        assert found.keys() == first.keys()
        for name, array in first.items():
            np.testing.assert_array_equal(found[name], array)
            assert found[name].dtype == array.dtype
        monkeypatch.setattr(Folder, "_image", None)  # the second time, the new cache is read


def test_without_a_place_for_the_cache_the_folder_is_read(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = write_pngs(tmp_path / "bars", bars(30, 1), bars(30, 2))
    assert len(read(path, Path("/proc/nowhere")).train_labels) == 30
    assert "cannot be written" in capsys.readouterr().err


def save(file: Path, pixels: np.ndarray, mode: str | None = None) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    image = Image.fromarray(pixels)
    (image.convert(mode) if mode else image).save(file)


def test_colours_greys_and_formats(tmp_path: Path, root: Path) -> None:
    rng = np.random.default_rng(0)
    pixels = rng.integers(0, 256, (4, 16, 16, 3)).astype(np.uint8)
    for split in ("train", "test"):
        save(tmp_path / "data" / split / "a" / "1.png", pixels[0])
        save(tmp_path / "data" / split / "a" / "2.bmp", pixels[1])
        save(tmp_path / "data" / split / "b" / "3.png", pixels[2], "L")
        save(tmp_path / "data" / split / "b" / "4.png", pixels[3], "RGBA")
        (tmp_path / "data" / split / "b" / "notes.txt").write_text("not an image")
    found = read(tmp_path / "data", root)
    assert found.shape == (3, 16, 16)
    assert found.classes == ("a", "b")
    np.testing.assert_array_equal(found.train_images[0], pixels[0].transpose(2, 0, 1))
    grey = np.asarray(Image.fromarray(pixels[2]).convert("L"))
    np.testing.assert_array_equal(found.train_images[2], np.broadcast_to(grey, (3, 16, 16)))
    np.testing.assert_array_equal(found.train_images[3], pixels[3].transpose(2, 0, 1))
    np.testing.assert_array_equal(read(tmp_path / "data", root, grey=True).train_images[2, 0], grey)


def test_sizes_differ(tmp_path: Path, root: Path) -> None:
    for split in ("train", "test"):
        save(tmp_path / split / "a" / "1.png", np.full((20, 30, 3), 90, np.uint8))
        save(tmp_path / split / "b" / "2.png", np.full((32, 32, 3), 40, np.uint8))
    with pytest.raises(UserError, match=r"2\.png: is of 32x32 pixels, and .*1\.png of 20x30; data.size=32 resizes"):
        read(tmp_path, root)
    found = read(tmp_path, root, size=32)
    assert found.shape == (3, 32, 32)
    assert found.train_images[0].min() == found.train_images[0].max() == 90


def test_folders_that_do_not_fit_are_named(tmp_path: Path, root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = write_pngs(tmp_path / "bars", bars(60, 1), bars(60, 2))
    (path / "train" / ".ipynb_checkpoints").mkdir()
    assert read(path, root).classes == tuple("0123456789")
    assert f"{path / 'train'}: skipped .ipynb_checkpoints" in capsys.readouterr().err

    (path / "test" / "3").rename(path / "test" / "three")
    with pytest.raises(UserError, match="train and test differ in their classes; only one of them has 3, three"):
        read(path, root)
    (path / "test" / "three").rename(path / "test" / "3")

    images = sorted((path / "train" / "7").iterdir())
    content = images[0].read_bytes()
    for image in images[:2]:
        image.write_bytes(content[:40])
    with pytest.raises(UserError, match=rf"^{images[0]}: cannot be read as an image .*\(and 1 more\)$"):
        read(path, root)
    for image in images:
        image.unlink()
    with pytest.raises(UserError, match=rf"^{path}/train/7: holds no images"):
        read(path, root)
    with pytest.raises(UserError, match=rf"^{tmp_path}/train: is not a folder; it must hold a folder of images"):
        read(tmp_path, root)
    (tmp_path / "train").mkdir()
    with pytest.raises(UserError, match=rf"^{tmp_path}/train: holds no folders"):
        read(tmp_path, root)


def test_folders_below_a_class_belong_to_it(tmp_path: Path, root: Path) -> None:
    path = write_pngs(tmp_path / "bars", bars(60, 1), bars(60, 2))
    expected = read(path, root)
    for split in ("train", "test"):
        for of_class in (path / split).iterdir():
            nested = of_class / "a" / "b"
            nested.mkdir(parents=True)
            (of_class / ".thumbnails").mkdir()
            for number, image in enumerate(sorted(of_class.glob("*.png"))):
                image.rename(nested / image.name) if number else shutil.copy(image, of_class / ".thumbnails")
    found = read(path, root)
    assert sorted(found.train_labels) == sorted(expected.train_labels)
    assert found.train_images.sum() == expected.train_images.sum()
    assert len(list((root / ".images").glob("*.npz"))) == 1  # a changed folder replaces its cache


def test_folders_that_cannot_be_read_are_named(tmp_path: Path, root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Their images would be missing, and nobody would notice."""
    monkeypatch.chdir(tmp_path)  # nobody may not search the folders above it
    tmp_path.chmod(0o755)
    path = write_pngs(Path("bars"), bars(300, 1), bars(80, 2))
    below = path / "train" / "3" / "deeper" / "still"
    below.mkdir(parents=True)
    one, *others = below, *(path / "train" / name for name in "46789")
    one.chmod(0)
    with bound_by_permissions(), pytest.raises(UserError) as refused:
        read(path, root)
    assert str(refused.value) == (
        f"{one} (Permission denied): this folder cannot be read, so its images would be missing; make it readable with "
        "chmod u+rx, or move it elsewhere"
    )
    for folder in others:
        folder.chmod(0)
    with bound_by_permissions(), pytest.raises(UserError) as refused:
        read(path, root)
    first = ", ".join(f"{folder} (Permission denied)" for folder in (one, *others[:2]))
    assert str(refused.value).startswith(f"{first} and 3 more: these folders cannot be read, so their images would be")
    for folder in (one, *others):
        folder.chmod(0o755)
    assert len(read(path, root).train_labels) == 300


def test_a_folder_of_one_class(tmp_path: Path, root: Path) -> None:
    save(tmp_path / "train" / "only" / "1.png", np.zeros((16, 16), np.uint8))
    with pytest.raises(UserError, match="has one class, only; at least two are needed"):
        read(tmp_path, root)


def test_more_than_half_of_the_memory_is_told_before_the_rest_is_read(
    tmp_path: Path, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write_pngs(tmp_path / "bars", bars(300, 1), bars(80, 2))
    monkeypatch.setattr("os.sysconf", {"SC_PAGE_SIZE": 100, "SC_PHYS_PAGES": 100}.get)
    with pytest.raises(UserError, match=rf"^{path}: takes 0.0 GiB, more than half"):
        read(path, root)


def test_sixteen_bits_are_refused(tmp_path: Path, root: Path) -> None:
    for label in ("a", "b"):
        save(tmp_path / "train" / label / "1.png", np.full((16, 16), 40_000, np.uint16))
    with pytest.raises(UserError, match=r"1\.png: has more than 8 bits a pixel"):
        read(tmp_path, root)


@pytest.mark.parametrize(("size", "grey"), [(0, False), ("big", False), (True, False), (None, "yes")])
def test_wrong_options_are_named(size: object, grey: object, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"^data\.(size|grey)="):
        Folder(str(tmp_path), "root", size, grey)  # type: ignore[arg-type]


def test_a_run_reads_names_that_are_not_utf8(tmp_path: Path, root: Path) -> None:
    for label in (b"a\xff", b"b"):
        folder = tmp_path / "train" / os.fsdecode(label)
        save(folder / "1.png", np.zeros((16, 16), np.uint8))
        save(folder / "2.png", np.ones((16, 16), np.uint8))
    assert len(Folder(str(tmp_path), str(root)).arrays()["y_train"]) == 4
