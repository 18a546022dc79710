"""CIFAR, SVHN and EMNIST, written in their published layouts from random images."""

import hashlib
import pickle
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import scipy.io
from numpy.typing import NDArray

from src.data.images import Images
from src.data.published import CIFAR10, CIFAR100, PUBLISHED, SVHN, Cifar, Idx, Svhn
from src.errors import UserError
from tests.helpers.images import write_idx

RNG = np.random.default_rng(0)


def random(n: int, shape: tuple[int, ...], classes: int) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    return RNG.integers(0, 256, (n, *shape)).astype(np.uint8), (np.arange(n) % classes).astype(np.uint8)


def md5(path: Path) -> str:
    return hashlib.md5(path.read_bytes()).hexdigest()


def write_cifar10(root: Path) -> tuple[Cifar, Images]:
    """As described at cs.toronto.edu/~kriz/cifar.html: rows of 3072 bytes, red first, row-major."""
    (train, train_labels), (test, test_labels) = random(50, (3, 32, 32), 10), random(20, (3, 32, 32), 10)
    folder, names = root / "cifar-10-batches-py", [f"name {label}" for label in range(10)]
    folder.mkdir(parents=True)
    parts = [
        *((f"data_batch_{i + 1}", train[i * 10 : i * 10 + 10], train_labels[i * 10 : i * 10 + 10]) for i in range(5)),
        ("test_batch", test, test_labels),
    ]
    for file, images, labels in parts:
        content = {"batch_label": file, "labels": labels.tolist(), "data": images.reshape(-1, 3072), "filenames": []}
        (folder / file).write_bytes(pickle.dumps(content, protocol=2))
    (folder / "batches.meta").write_bytes(pickle.dumps({"label_names": names, "num_vis": 3072}, protocol=2))
    data = PUBLISHED["cifar10"]
    assert isinstance(data, Cifar)
    sums = {file: md5(folder / file) for file in CIFAR10}
    return replace(data, md5=sums), Images(train, train_labels, test, test_labels, tuple(names))


def write_cifar100(root: Path) -> tuple[Cifar, Images]:
    (train, train_labels), (test, test_labels) = random(200, (3, 32, 32), 100), random(100, (3, 32, 32), 100)
    folder, names = root / "cifar-100-python", [f"name {label}" for label in range(100)]
    folder.mkdir(parents=True)
    for file, images, labels in (("train", train, train_labels), ("test", test, test_labels)):
        fine = {"fine_labels": labels.tolist(), "coarse_labels": [0] * len(labels), "data": images.reshape(-1, 3072)}
        (folder / file).write_bytes(pickle.dumps(fine, protocol=2))
    (folder / "meta").write_bytes(pickle.dumps({"fine_label_names": names, "coarse_label_names": []}, protocol=2))
    data = PUBLISHED["cifar100"]
    assert isinstance(data, Cifar)
    sums = {file: md5(folder / file) for file in CIFAR100}
    return replace(data, md5=sums), Images(train, train_labels, test, test_labels, tuple(names))


def write_svhn(root: Path) -> tuple[Svhn, Images]:
    """As described at ufldl.stanford.edu/housenumbers: X is (32, 32, 3, N), and the digit 0 has the label 10."""
    root.mkdir(parents=True)
    splits = random(40, (3, 32, 32), 10), random(20, (3, 32, 32), 10)
    for file, (images, labels) in zip(SVHN, splits, strict=True):
        columns = np.where(labels == 0, 10, labels)[:, None]
        scipy.io.savemat(root / file, {"X": images.transpose(2, 3, 1, 0), "y": columns})
    return Svhn({file: md5(root / file) for file in SVHN}), Images(*splits[0], *splits[1])


def write_emnist(root: Path) -> tuple[Idx, Images]:
    """Its images are transposed in the files."""
    data = PUBLISHED["emnist"]
    assert isinstance(data, Idx)
    train, test = random(94, (28, 28), 47), random(47, (28, 28), 47)
    for start, (images, labels) in ((0, train), (2, test)):
        write_idx(root / data.files[start], np.ascontiguousarray(images.transpose(0, 2, 1)))
        write_idx(root / data.files[start + 1], labels)
    return data, Images(*train, *test, data.classes)


WRITERS: dict[str, Callable[[Path], tuple[Any, Images]]] = {
    "cifar10": write_cifar10, "cifar100": write_cifar100, "svhn": write_svhn, "emnist": write_emnist,
}  # fmt: skip


@pytest.mark.parametrize("name", WRITERS)
def test_published_layouts_load_to_the_arrays_they_were_made_of(name: str, tmp_path: Path) -> None:
    data, expected = WRITERS[name](tmp_path / "root")
    found = data.read(tmp_path / "root")
    for array in ("train_images", "train_labels", "test_images", "test_labels"):
        np.testing.assert_array_equal(getattr(found, array), getattr(expected, array))
    assert found.classes == expected.classes
    assert found.sha256 == expected.sha256


@pytest.mark.parametrize("name", WRITERS)
def test_each_damaged_file_is_named(name: str, tmp_path: Path) -> None:
    data, _ = WRITERS[name](tmp_path / "root")
    for file in data.files:
        path = tmp_path / "root" / file
        content = path.read_bytes()
        path.write_bytes(content[:-1])
        with pytest.raises(UserError, match=f"^{path}: "):
            data.read(tmp_path / "root")
        path.write_bytes(content)
    data.read(tmp_path / "root")


def test_what_is_unpickled_was_checked_first(tmp_path: Path) -> None:
    data, _ = write_cifar10(tmp_path / "root")

    class Harmful:
        def __reduce__(self) -> tuple[Any, ...]:
            return (tmp_path / "harm").mkdir, ()

    (tmp_path / "root" / data.files[0]).write_bytes(pickle.dumps(Harmful()))
    with pytest.raises(UserError, match="data_batch_1: damaged: its MD5 sum is"):
        data.read(tmp_path / "root")
    assert not (tmp_path / "harm").exists()


def test_checksums_and_classes_are_torchvisions() -> None:
    from torchvision import datasets

    for ours, theirs in ((CIFAR10, datasets.CIFAR10), (CIFAR100, datasets.CIFAR100)):
        listed = dict([*theirs.train_list, *theirs.test_list]) | {theirs.meta["filename"]: theirs.meta["md5"]}
        assert ours == listed
    assert {
        datasets.SVHN.split_list[split][1]: datasets.SVHN.split_list[split][2] for split in ("train", "test")
    } == SVHN
    emnist = PUBLISHED["emnist"]
    assert isinstance(emnist, Idx)
    assert list(emnist.classes) == datasets.EMNIST.classes_split_dict["balanced"]
