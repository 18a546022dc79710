import gzip
import hashlib
import os
import struct
import threading
from collections.abc import Iterator
from contextlib import suppress
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from src.data import datasets, idx
from src.data.download import download
from src.data.published import PUBLISHED
from src.errors import UserError
from tests.helpers.commands import REAL, needs_mnist
from tests.helpers.images import bars, write_idx, write_mnist

FILES = [Path(file).name for file in PUBLISHED["mnist"].files]


@pytest.fixture(autouse=True)
def _forget() -> Iterator[None]:
    yield
    datasets.choose.cache_clear()
    datasets.load.cache_clear()


@given(arrays(np.uint8, st.tuples(*[st.integers(0, 5)] * 3)))
def test_reads_idx_files(array: np.ndarray) -> None:
    path = Path(os.environ.get("TMPDIR", "/tmp"), f"ravine-{os.getpid()}.idx")
    try:
        write_idx(path, array)
        np.testing.assert_array_equal(idx.read(path, 3), array)
    finally:
        path.unlink()


def raw(root: Path, file: str) -> Path:
    return root / "MNIST" / "raw" / file


DAMAGE = {
    "truncated": ("train-images-idx3-ubyte", lambda content: content[:-1], "truncated: 235215 bytes"),
    "empty": ("train-labels-idx1-ubyte", lambda content: b"", "truncated: 0 bytes"),
    "header only in part": ("t10k-images-idx3-ubyte", lambda content: content[:9], "truncated: 9 bytes"),
    "too long": ("t10k-labels-idx1-ubyte", lambda content: content + b"1", "too long"),
    "wrong magic": ("train-images-idx3-ubyte", lambda content: b"\0\0\x0d\3" + content[4:], "wrong magic number"),
    "gzip": ("train-images-idx3-ubyte", gzip.compress, "wrong magic number 0x1f8b"),
    "label over 9": ("train-labels-idx1-ubyte", lambda content: content[:-1] + b"\xc8", "holds the label 200"),
    "wrong count": (
        "train-labels-idx1-ubyte",
        lambda content: content[:4] + struct.pack(">I", 299) + content[8:-1],
        "holds 299 labels for 300 images",
    ),
    "no images": (
        "t10k-images-idx3-ubyte",
        lambda content: content[:4] + struct.pack(">III", 0, 28, 28),
        r"shape \(0, 28, 28\)",
    ),
    "other size": (
        "t10k-images-idx3-ubyte",
        lambda content: content[:4] + struct.pack(">III", 320, 14, 14) + content[16:32] + content[32:],
        r"shape \(320, 14, 14\)",
    ),
}


@pytest.mark.parametrize("damage", DAMAGE)
def test_a_bad_file_is_named(damage: str, tmp_path: Path) -> None:
    file, change, complaint = DAMAGE[damage]
    path = raw(write_mnist(tmp_path), file)
    path.write_bytes(change(path.read_bytes()))
    with pytest.raises(UserError, match=f"{path}: .*{complaint}"):
        datasets.load("mnist", str(tmp_path))


def test_other_images_under_mnists_name_give_a_warning(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    datasets.load("mnist", str(write_mnist(tmp_path)))
    assert "not the published MNIST files" in capsys.readouterr().err


@needs_mnist
def test_the_published_mnist_gives_no_warning(capsys: pytest.CaptureFixture[str]) -> None:
    mnist = datasets.load("mnist", str(REAL))
    assert (len(mnist.train_labels), len(mnist.test_labels)) == (60_000, 10_000)
    assert np.bincount(mnist.train_labels).tolist() == [5923, 6742, 5958, 6131, 5842, 5421, 5918, 6265, 5851, 5949]
    assert mnist.train_images.mean() == pytest.approx(0.13066 * 255, abs=0.01)
    assert capsys.readouterr().err == ""


def test_digits_are_scikit_learns() -> None:
    digits = datasets.load("digits", "nowhere")
    assert digits.train_images.shape == (1500, 1, 28, 28)
    assert digits.test_images.shape == (297, 1, 28, 28)
    assert sorted(set(digits.test_labels.tolist())) == list(range(10))
    assert digits.train_images.max() == 255
    # The first digit is a zero: dark in the middle, bright on the ring.
    zero = digits.train_images[0, 0].astype(int)
    assert digits.train_labels[0] == 0
    assert zero[10:18, 12:15].mean() < 10 < 140 < zero[10:18, 7:9].mean()


@pytest.fixture
def server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """Serve a small MNIST as torchvision's mirror on this machine; return the list of requested paths."""
    from torchvision.datasets import MNIST

    asked: list[str] = []

    class Handler(SimpleHTTPRequestHandler):
        def do_GET(self) -> None:
            if "Method" not in self.headers:  # torchvision first asks for redirects with this header
                asked.append(self.path)
            super().do_GET()

        def copyfile(self, source: Any, outputfile: Any) -> None:
            with suppress(BrokenPipeError):  # then it does not read the answer
                super().copyfile(source, outputfile)

        def log_message(self, *_: object) -> None:
            pass

    source = write_mnist(tmp_path / "source") / "MNIST" / "raw"
    resources = []
    for file in FILES:
        packed = gzip.compress((source / file).read_bytes())
        (source / f"{file}.gz").write_bytes(packed)
        resources.append((f"{file}.gz", hashlib.md5(packed).hexdigest()))
    for proxy in ("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.delenv(proxy, raising=False)
    http = ThreadingHTTPServer(("127.0.0.1", 0), partial(Handler, directory=str(source)))
    monkeypatch.setattr(MNIST, "resources", resources)
    monkeypatch.setattr(MNIST, "mirrors", ["http://127.0.0.1:9/", f"http://127.0.0.1:{http.server_port}/"])
    thread = threading.Thread(target=http.serve_forever)
    thread.start()
    yield asked
    http.shutdown()
    thread.join()
    http.server_close()


def left(root: Path) -> set[str]:
    return {path.name for path in root.rglob("*") if path.is_file() and not path.name.endswith(".lock")}


@pytest.mark.parametrize("name", ["mnist", "auto"])
def test_missing_files_are_downloaded_from_the_mirror_that_answers(
    name: str, server: list[str], tmp_path: Path
) -> None:
    root = tmp_path / "root"
    assert datasets.choose(name, str(root)) == "mnist"
    np.testing.assert_array_equal(datasets.load("mnist", str(root)).train_images[:, 0], bars(300, 1)[0])
    assert left(root) == set(FILES)
    assert len(server) == 4


def test_two_threads_download_a_file_once(server: list[str], tmp_path: Path) -> None:
    root = str(tmp_path / "root")
    files, fetch = PUBLISHED["mnist"].files, PUBLISHED["mnist"].fetch
    threads = [threading.Thread(target=download, args=("mnist", Path(root), files, fetch)) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(server) == 4
    assert len(datasets.load("mnist", root).train_labels) == 300


def test_a_download_with_a_wrong_checksum_is_removed(
    server: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from torchvision.datasets import MNIST

    monkeypatch.setattr(MNIST, "resources", [*MNIST.resources[:3], (MNIST.resources[3][0], "0" * 32)])
    with pytest.raises(UserError, match="cannot be downloaded"):
        datasets.choose("mnist", str(tmp_path / "root" / "below"))
    assert not (tmp_path / "root").exists()


def test_a_killed_download_starts_over(server: list[str], tmp_path: Path) -> None:
    half = tmp_path / "root" / ".mnist.partial" / "MNIST" / "raw" / f"{FILES[0]}.gz"
    half.parent.mkdir(parents=True)
    half.write_bytes(b"half")
    assert datasets.choose("mnist", str(tmp_path / "root")) == "mnist"
    assert left(tmp_path / "root") == set(FILES)


def test_without_a_network_auto_is_digits_and_mnist_is_an_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from torchvision.datasets import MNIST

    monkeypatch.setattr(MNIST, "mirrors", ["http://127.0.0.1:9/"])
    with pytest.raises(UserError, match=r"(?s)cannot be downloaded.*data_root="):
        datasets.choose("mnist", str(tmp_path / "root"))
    assert capsys.readouterr() == ("", "")
    assert datasets.choose("auto", str(tmp_path / "root")) == "digits"
    stdout, stderr = capsys.readouterr()
    assert stdout == ""
    for part in ("cannot be downloaded", "data_root=", "NOT MNIST"):
        assert part in stderr
    assert list(tmp_path.iterdir()) == []


def test_bad_files_do_not_fall_back_to_digits(tmp_path: Path) -> None:
    raw(write_mnist(tmp_path), FILES[0]).write_bytes(b"")
    assert datasets.choose("auto", str(tmp_path)) == "mnist"
    with pytest.raises(UserError, match="truncated"):
        datasets.load("mnist", str(tmp_path))
