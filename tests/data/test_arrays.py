"""Data of the user's own, as arrays."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from src.data.arrays import Npz, images_of
from src.errors import UserError

RNG = np.random.default_rng(0)
GREY = RNG.integers(0, 256, (12, 20, 24)).astype(np.uint8)
COLOURED = RNG.integers(0, 256, (12, 3, 20, 24)).astype(np.uint8)
LABELS = np.arange(12) % 4


def given_arrays(**changes: Any) -> dict[str, Any]:
    arrays = {"x_train": GREY, "y_train": LABELS, "x_test": GREY[:8], "y_test": LABELS[:8]} | changes
    return {key: value for key, value in arrays.items() if value is not None}


@pytest.mark.parametrize(
    ("images", "expected"),
    [
        (GREY, GREY[:, None]),
        (GREY[..., None], GREY[:, None]),
        (GREY[:, None], GREY[:, None]),
        (COLOURED, COLOURED),
        (np.moveaxis(COLOURED, 1, 3), COLOURED),
    ],
    ids=["NHW", "NHW1", "N1HW", "N3HW", "NHW3"],
)
def test_channels_may_be_first_last_or_missing(images: np.ndarray, expected: np.ndarray) -> None:
    found = images_of(given_arrays(x_train=images, x_test=images[:8]), "it", 0)
    np.testing.assert_array_equal(found.train_images, expected)
    assert found.shape == expected.shape[1:]
    assert found.classes == ("0", "1", "2", "3")
    assert found.train_labels.dtype == np.uint8


@given(st.integers(2, 400))
def test_any_number_of_classes(classes: int) -> None:
    images = np.zeros((classes, 2, 2), np.uint8)
    labels = np.arange(classes)[:, None].astype(float)  # whole numbers in a column
    names = [f"class {label}" for label in range(classes)]
    found = images_of(
        {"x_train": images, "y_train": labels, "x_test": images, "y_test": labels, "classes": names}, "it", 0
    )
    assert found.train_labels.tolist() == list(range(classes))
    assert found.classes == tuple(names)


@given(st.lists(st.integers(2, 40), min_size=2, max_size=6), st.floats(0.01, 0.9))
def test_a_test_set_is_split_off_by_class(sizes: list[int], share: float) -> None:
    labels = np.repeat(np.arange(len(sizes)), sizes)
    images = np.arange(len(labels)).astype(np.uint8).reshape(-1, 1, 1)
    found = images_of({"x_train": images, "y_train": labels}, "it", share)
    both = np.concatenate([found.train_images, found.test_images]).ravel()
    assert sorted(both) == sorted(images.ravel())
    for label, size in enumerate(sizes):
        assert (found.test_labels == label).sum() == min(max(1, round(share * size)), size - 1)
    again = images_of({"x_train": images, "y_train": labels}, "it", share)
    assert again.sha256 == found.sha256


ERRORS: dict[str, tuple[dict[str, Any], str]] = {
    "nothing": ({"x_train": None}, "it: has no x_train; it has x_test, y_test, y_train"),
    "no labels": ({"y_test": None}, "it: has x_test but no y_test"),
    "no test set": ({"x_test": None, "y_test": None}, "it: has no test set; data.test=0.2 takes a fifth"),
    "floats": ({"x_train": GREY / 255}, r"it: x_train is of float64; images are uint8, 0 to 255: \(255 \* x\)"),
    "int64": ({"x_test": GREY.astype(int)}, r"it: x_test is of int64; .*np.uint8\(x\)"),
    "ambiguous": ({"x_train": np.zeros((12, 3, 5, 1), np.uint8)}, r"shape \(12, 3, 5, 1\), where channels could be"),
    "four channels": ({"x_train": np.zeros((12, 5, 5, 4), np.uint8)}, r"shape \(12, 5, 5, 4\); must be \(N, H, W\)"),
    "flat": ({"x_train": np.zeros((12, 784), np.uint8)}, r"shape \(12, 784\); must be"),
    "no images": ({"x_test": GREY[:0], "y_test": LABELS[:0]}, r"shape \(0, 20, 24\)"),
    "other sizes": ({"x_test": GREY[:8, :10]}, "differ in shape, 1x20x24 and 1x10x24"),
    "too few labels": ({"y_train": LABELS[:11]}, "it: y_train has 11 labels for 12 images"),
    "labels of two columns": ({"y_train": np.eye(12)}, r"it: y_train has shape \(12, 12\); labels are \(N,\)"),
    "names as labels": ({"y_train": np.array(list("abcdefghijkl"))}, "labels are whole numbers"),
    "fractions": ({"y_train": LABELS + 0.5}, "it: y_train is of float64; labels are whole numbers"),
    "nan": ({"y_train": LABELS * np.nan}, "labels are whole numbers"),
    "from 1": ({"y_train": LABELS + 1, "y_test": LABELS[:8] + 1}, "training set has no image of class 0"),
    "negative": ({"y_train": LABELS - 1}, "it: labels are -1 to 3; they must be 0 to K - 1"),
    "far apart": ({"y_train": LABELS * 1000}, "it: labels are 0 to 3000; they must be 0 to K - 1"),
    "huge in test": ({"y_test": LABELS[:8] + 10**9}, "it: labels are 0 to 1000000003; they must be 0 to K - 1"),
    "classes as a number": ({"classes": 7}, "it: classes must be a list of different names"),
    "classes as text": ({"classes": "ant"}, "it: classes must be a list of different names"),
    "equal names": ({"classes": ["a", "a", "b", "c"]}, "it: classes must be a list of different names"),
    "one class": ({"y_train": LABELS * 0, "y_test": LABELS[:8] * 0}, "it: has one class; at least two are needed"),
    "missing in test": ({"y_test": np.minimum(LABELS[:8], 2)}, "it: the test set has no image of class 3"),
    "new in test": ({"y_test": LABELS[:8] + 1}, "it: the training set has no image of class 4"),
    "too few names": ({"classes": ["a", "b"]}, "it: has the label 3, but classes names only 2"),
    "a name without images": ({"classes": list("abcde")}, "it: the training set has no image of class e"),
}


@pytest.mark.parametrize("case", ERRORS)
def test_wrong_arrays_are_named(case: str) -> None:
    changes, complaint = ERRORS[case]
    with pytest.raises(UserError, match=complaint):
        images_of(given_arrays(**changes), "it", 0)


def test_a_share_for_the_test_set_is_refused_if_there_is_one() -> None:
    with pytest.raises(UserError, match=r"data\.test=0.2: it has a test set of 8 images; leave it out"):
        images_of(given_arrays(), "it", 0.2)
    with pytest.raises(UserError, match=r"data\.test=0.2: class 1 has one image"):
        images_of({"x_train": GREY[:3], "y_train": np.array([0, 0, 1])}, "it", 0.2)


def test_what_is_no_dictionary_is_an_error() -> None:
    with pytest.raises(UserError, match=r"it: arrays\(\) returned a NoneType; must be a dictionary"):
        images_of(None, "it", 0)  # type: ignore[arg-type]


def test_any_flipped_bit_of_a_compressed_npz_is_named(tmp_path: Path) -> None:
    file = tmp_path / "my.npz"
    np.savez_compressed(file, **given_arrays())
    content = file.read_bytes()
    expected, complaints = Npz(str(file)).arrays(), []
    for place in range(0, len(content), 97):
        file.write_bytes(content[:place] + bytes([content[place] ^ 16]) + content[place + 1 :])
        try:
            found = Npz(str(file)).arrays()
        except UserError as error:
            complaints.append(str(error))
        else:  # a bit that means nothing, such as a time, or a name
            assert all(np.array_equal(expected[key], found[key]) for key in expected.keys() & found.keys())
    assert len(complaints) > 20
    assert all(complaint.startswith(f"{file}: cannot be read as .npz") for complaint in complaints)


def test_an_npz_is_read(tmp_path: Path) -> None:
    np.savez_compressed(tmp_path / "my.npz", **given_arrays())
    found = Npz(str(tmp_path / "my.npz")).arrays()
    assert sorted(found) == ["x_test", "x_train", "y_test", "y_train"]
    np.testing.assert_array_equal(found["x_train"], GREY)


def test_a_damaged_npz_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "my.npz"
    np.savez(file, **given_arrays())
    content = bytearray(file.read_bytes())
    content[300] ^= 1
    for damaged in (bytes(content), content[:-100], b"", b"PK", np.lib.format.MAGIC_PREFIX):
        file.write_bytes(damaged)
        with pytest.raises(UserError, match=rf"^{file}: cannot be read as .npz"):
            Npz(str(file)).arrays()
    np.savez(file, x_train=np.array([object()]))
    with pytest.raises(UserError, match=rf"^{file}: cannot be read as .npz"):
        Npz(str(file)).arrays()
    for path, complaint in (("", "must name"), ("nowhere.npz", "does not exist"), ("~/my.npz", "~ is not expanded")):
        with pytest.raises(UserError, match=f"data.path={path}: {complaint}"):
            Npz(path)
    np.savez(file, **given_arrays())
    monkeypatch.setattr("os.sysconf", {"SC_PAGE_SIZE": 100, "SC_PHYS_PAGES": 100}.get)
    with pytest.raises(UserError, match=r"more than half of this machine's 0\.0 GiB of memory"):
        Npz(str(file)).arrays()
