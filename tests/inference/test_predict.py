"""The command `python -m src.predict`."""

import csv
import re
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.helpers.commands import Command
from tests.helpers.images import bars, write_npz


@pytest.fixture
def trained(train: Command) -> None:
    assert train("model=mlp", "epochs=10", "lr=0.003").returncode == 0


def save(folder: Path, images: np.ndarray, size: int = 28) -> list[Path]:
    folder.mkdir()
    files = [folder / f"{number}.png" for number in range(len(images))]
    for file, image in zip(files, images, strict=True):
        Image.fromarray(image).resize((size, size)).save(file)
    return files


@pytest.mark.usefixtures("trained")
def test_images_are_predicted_in_the_order_given(command: Command, tmp_path: Path) -> None:
    images, labels = bars(12, 7)
    files = save(tmp_path / "images", images)
    shown = command("predict", "mlp", files[5], tmp_path / "images", files[5], f"csv={tmp_path / 'out.csv'}")
    assert shown.returncode == 0, shown.stderr
    assert shown.stderr == ""
    lines = [re.fullmatch(r"(.*)  (\d)  (\d+\.\d\d)%", line) for line in shown.stdout.splitlines()]
    rows = list(csv.DictReader((tmp_path / "out.csv").read_text().splitlines()))
    order = [5, *range(12), 5]
    assert [row["path"] for row in rows] == [str(files[number]) for number in order]
    for line, row in zip(lines, rows, strict=True):
        assert line is not None
        assert (line[1], line[2]) == (row["path"], row["class"])
        assert float(line[3]) == pytest.approx(100 * float(row["probability"]), abs=0.006)
    right = [row["class"] == str(labels[number]) for row, number in zip(rows, order, strict=True)]
    assert np.mean(right) > 0.8


@pytest.mark.usefixtures("trained")
def test_another_size_is_resized_only_when_asked(command: Command, tmp_path: Path) -> None:
    images, labels = bars(10, 7)
    save(tmp_path / "images", images, size=56)
    refused = command("predict", "mlp", tmp_path / "images")
    assert refused.returncode == 1
    assert "0.png: is of 56 x 56 pixels, not 28 x 28; resize=true resizes all images" in refused.stderr
    shown = command("predict", "mlp", tmp_path / "images", "resize=true")
    classes = [line.split("  ")[1] for line in shown.stdout.splitlines()]
    assert np.mean(np.array(classes) == labels.astype(str)) > 0.8


def test_dark_on_light_is_noticed(train: Command, command: Command, tmp_path: Path) -> None:
    assert train("data=digits", "model=mlp", "epochs=1").returncode == 0
    images = np.zeros((4, 28, 28), np.uint8)
    images[:, 8:20, 8:20] = 255
    save(tmp_path / "paper", 255 - images)
    noticed = command("predict", "mlp", tmp_path / "paper")
    said = "4 of 4 images are dark on light, but the network was trained on light on dark; invert=true exchanges"
    assert noticed.stderr.startswith(said)
    inverted = command("predict", "mlp", tmp_path / "paper", "invert=true")
    assert inverted.stderr == ""
    save(tmp_path / "screen", images)
    plain = command("predict", "mlp", tmp_path / "screen")
    assert plain.stderr == ""
    assert inverted.stdout.replace("paper", "screen") == plain.stdout


@pytest.mark.usefixtures("trained")
def test_one_bad_image_does_not_stop_the_rest(command: Command, tmp_path: Path) -> None:
    files = save(tmp_path / "images", bars(3, 7)[0])
    files[1].write_bytes(b"no image")
    ended = command("predict", "mlp", tmp_path / "images")
    assert ended.returncode == 1
    assert len(ended.stdout.splitlines()) == 2
    first, last = ended.stderr.splitlines()
    assert first.startswith(f"{files[1]}: cannot be read as an image (")
    assert last == "1 of 3 images cannot be predicted"


def test_coloured_images_and_names(train: Command, command: Command, tmp_path: Path) -> None:
    file = write_npz(tmp_path / "my.npz", (3, 20, 24))
    assert train("data=arrays", f"data.path={file}", "model=mlp", "epochs=1").returncode == 0
    with np.load(file) as arrays:
        Image.fromarray(arrays["x_test"][0].transpose(1, 2, 0)).save(tmp_path / "one.png")
        names = arrays["classes"].tolist()
    path, name, _ = command("predict", "best", "data=my", tmp_path / "one.png").stdout.splitlines()[-1].split("  ")
    assert path == str(tmp_path / "one.png")
    assert name in names


@pytest.mark.usefixtures("trained")
def test_an_output_that_is_no_file_is_refused_before_any_prediction(command: Command, tmp_path: Path) -> None:
    save(tmp_path / "images", bars(3, 7)[0])
    (tmp_path / "folder").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "folder")
    before = sorted(tmp_path.iterdir())
    for name, says in {
        "folder": "is a folder; name a file that does not exist yet, or a regular file",
        "link": "is a symbolic link; name a file that does not exist yet, or a regular file",
        "no/out.csv": f"{tmp_path}/no does not exist; create that folder, or name a file in another one",
    }.items():
        ended = command("predict", "mlp", tmp_path / "images", f"csv={tmp_path / name}")
        assert (ended.returncode, ended.stdout) == (2, "")
        assert ended.stderr == f"csv={tmp_path / name}: {says}\n"
    assert sorted(tmp_path.iterdir()) == before


@pytest.mark.usefixtures("trained")
def test_mistakes_are_told_in_one_line(command: Command, tmp_path: Path) -> None:
    for arguments, says in {
        ("mlp",): "no image is named; give files or folders after the run",
        ("mlp", "nowhere.png"): "nowhere.png: does not exist",
        ("mlp", tmp_path / "outputs"): "holds no images",
        ("mlp", "a.png", "resize=yes"): "resize=yes: must be true or false",
        ("nothing", "a.png"): "nothing: is neither the folder of a run",
    }.items():
        if says == "holds no images":
            for figure in (tmp_path / "outputs").rglob("*.png"):
                figure.unlink()
        ended = command("predict", *arguments)
        assert ended.returncode == 2
        assert says in ended.stderr
        assert ended.stderr.count("\n") == 1
