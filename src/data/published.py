"""Published data sets in torchvision's layout: their files, how they are downloaded, and how they are read."""

import hashlib
import pickle
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from src.data import idx
from src.data.images import Images, Labels, Pixels
from src.errors import UserError
from src.files import irregular

# MD5 sums of what is unpickled or parsed by SciPy, as in torchvision. IDX files are checked by their structure.
CIFAR10 = {
    "data_batch_1": "c99cafc152244af753f735de768cd75f",
    "data_batch_2": "d4bba439e000b95fd0a9bffe97cbabec",
    "data_batch_3": "54ebc095f3ab1f0389bbae665268c751",
    "data_batch_4": "634d18415352ddfa80567beed471001a",
    "data_batch_5": "482c414d41f54cd18b22e5b47cb7c3cb",
    "test_batch": "40351d587109b95175f43aff81a1287e",
    "batches.meta": "5ff9c542aee3614f3951f8cda6e48888",
}
CIFAR100 = {
    "train": "16019d7e3df5f24257cddd939b257f8d",
    "test": "f0ef6b0ae62326f3e7ffdfab6717acfc",
    "meta": "7973b15100ade9c7d40fb424638fde48",
}
SVHN = {
    "train_32x32.mat": "e26dedcc434d2e4c54c9b2d4a06d8373",
    "test_32x32.mat": "eb5a983be6a315427106f1b164d9cef3",
}
MERGED = set("cijklmopsuvwxyz")  # letters whose two cases EMNIST's balanced split does not tell apart
LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"


def read_checked(path: Path, md5: str) -> bytes:
    """Return the content of a file. Raises UserError unless it has this MD5 sum."""
    if what := irregular(path):
        raise UserError(f"{path}: is {what}; put the original file there")
    content = path.read_bytes()
    found = hashlib.md5(content, usedforsecurity=False).hexdigest()
    if found != md5:
        raise UserError(f"{path}: damaged: its MD5 sum is {found}, not {md5}; delete it to download the data set again")
    return content


class Published(ABC):
    """A data set with published files."""

    @property
    @abstractmethod
    def files(self) -> list[str]:
        """The files, below the data root."""

    @abstractmethod
    def fetch(self, torchvision_datasets: Any, folder: str) -> None:
        """Download into a folder by `torchvision.datasets`."""

    @abstractmethod
    def read(self, root: Path) -> Images:
        """Return the images. Raises UserError that names the faulty file."""


@dataclass(frozen=True)
class Idx(Published):
    """A data set of grey 28 x 28 images in MNIST's format."""

    torchvision: str  # name of the class
    classes: tuple[str, ...] = tuple("0123456789")
    prefixes: tuple[str, str] = ("train", "t10k")
    options: Mapping[str, str] = field(default_factory=dict)
    transposed: bool = False

    @property
    def files(self) -> list[str]:
        kinds = "images-idx3-ubyte", "labels-idx1-ubyte"
        return [f"{self.torchvision}/raw/{prefix}-{kind}" for prefix in self.prefixes for kind in kinds]

    def fetch(self, torchvision_datasets: Any, folder: str) -> None:
        getattr(torchvision_datasets, self.torchvision)(folder, download=True, **self.options)

    def read(self, root: Path) -> Images:
        train_images, train_labels, test_images, test_labels = (root / file for file in self.files)
        train, test = self._split(train_images, train_labels), self._split(test_images, test_labels)
        return Images(*train, *test, self.classes)

    def _split(self, images_file: Path, labels_file: Path) -> tuple[Pixels, Labels]:
        images, labels = idx.read(images_file, 3), idx.read(labels_file, 1)
        if images.shape[1:] != (28, 28) or len(images) == 0:
            raise UserError(f"{images_file}: holds images of shape {images.shape}, not (N, 28, 28)")
        if len(labels) != len(images):
            raise UserError(f"{labels_file}: holds {len(labels)} labels for {len(images)} images")
        if labels.max() >= len(self.classes):
            raise UserError(f"{labels_file}: holds the label {labels.max()}; labels are 0 to {len(self.classes) - 1}")
        return np.ascontiguousarray(images.swapaxes(1, 2)) if self.transposed else images, labels


@dataclass(frozen=True)
class Cifar(Published):
    """CIFAR-10 or CIFAR-100, 3 x 32 x 32 (Krizhevsky 2009), in Python's pickle format."""

    torchvision: str
    folder: str
    md5: Mapping[str, str]  # by file: batches of the training set, the test set, names
    labels: str  # keys in the files
    names: str

    @property
    def files(self) -> list[str]:
        return [f"{self.folder}/{file}" for file in self.md5]

    def fetch(self, torchvision_datasets: Any, folder: str) -> None:
        getattr(torchvision_datasets, self.torchvision)(folder, download=True)

    def read(self, root: Path) -> Images:
        *train, test, names = (self._unpickle(root / self.folder / file, md5) for file, md5 in self.md5.items())
        return Images(*self._split(train), *self._split([test]), tuple(names[self.names]))

    def _unpickle(self, path: Path, md5: str) -> Any:
        return pickle.loads(read_checked(path, md5), encoding="latin1")

    def _split(self, batches: Sequence[Any]) -> tuple[Pixels, Labels]:
        images = np.concatenate([batch["data"] for batch in batches]).reshape(-1, 3, 32, 32)
        return images, np.concatenate([np.asarray(batch[self.labels], np.uint8) for batch in batches])


@dataclass(frozen=True)
class Svhn(Published):
    """Street View House Numbers, cropped digits, 3 x 32 x 32 (Netzer et al. 2011), in Matlab's format."""

    md5: Mapping[str, str]

    @property
    def files(self) -> list[str]:
        return list(self.md5)

    def fetch(self, torchvision_datasets: Any, folder: str) -> None:
        for split in ("train", "test"):
            torchvision_datasets.SVHN(folder, split=split, download=True)

    def read(self, root: Path) -> Images:
        train, test = (self._split(root / file, md5) for file, md5 in self.md5.items())
        return Images(*train, *test)

    def _split(self, path: Path, md5: str) -> tuple[Pixels, Labels]:
        import io

        from scipy.io import loadmat

        content = loadmat(io.BytesIO(read_checked(path, md5)))
        images = np.ascontiguousarray(content["X"].transpose(3, 2, 0, 1))  # from (H, W, C, N)
        return images, (content["y"].reshape(-1) % 10).astype(np.uint8)  # 10 stands for the digit 0


PUBLISHED: dict[str, Published] = {
    "mnist": Idx("MNIST"),
    "fashion_mnist": Idx("FashionMNIST"),
    "kmnist": Idx("KMNIST"),
    "emnist": Idx(
        "EMNIST",
        (*"0123456789", *LETTERS, *(letter for letter in LETTERS.lower() if letter not in MERGED)),
        ("emnist-balanced-train", "emnist-balanced-test"),
        {"split": "balanced"},
        transposed=True,  # in the files
    ),
    "cifar10": Cifar("CIFAR10", "cifar-10-batches-py", CIFAR10, "labels", "label_names"),
    "cifar100": Cifar("CIFAR100", "cifar-100-python", CIFAR100, "fine_labels", "fine_label_names"),
    "svhn": Svhn(SVHN),
}
