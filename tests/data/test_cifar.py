"""CIFAR's binary records, from a folder, a zip and the publisher's tar; pickles are never looked at."""

import io
import tarfile
from pathlib import Path

import numpy as np
import pytest

from striate.data import load
from striate.errors import DataError

CLASSES = ["airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck"]
RNG = np.random.default_rng(0)


def files10() -> dict[str, bytes]:
    """Records of 1 label byte and 3,072 of red, green and blue planes."""
    batches = {}
    for name in [f"data_batch_{i}.bin" for i in range(1, 6)] + ["test_batch.bin"]:
        rows = RNG.integers(0, 256, (20, 3073), np.uint8)
        rows[:, 0] = np.arange(20) % 10
        batches[name] = rows.tobytes()
    return batches | {"batches.meta.txt": "\n".join(CLASSES).encode()}


def files100() -> dict[str, bytes]:
    names = [f"fine{i}" for i in range(100)]
    batches = {}
    for name, n in (("train.bin", 300), ("test.bin", 100)):
        rows = RNG.integers(0, 256, (n, 3074), np.uint8)
        rows[:, 1] = np.arange(n) % 100
        batches[name] = rows.tobytes()
    return batches | {"fine_label_names.txt": "\n".join(names).encode()}


def tar(path: Path, files: dict[str, bytes]) -> Path:
    with tarfile.open(path, "w:gz") as t:
        for name, data in files.items():
            info = tarfile.TarInfo(f"cifar/{name}")
            info.size = len(data)
            t.addfile(info, io.BytesIO(data))
    return path


def test_the_publishers_tar(tmp_path: Path) -> None:
    files = files10()
    data = load(tar(tmp_path / "cifar-10-binary.tar.gz", files))
    assert data.classes == tuple(CLASSES)
    assert [len(p) for p in data.parts().values()] == [90, 10, 20]
    rows = np.frombuffer(files["test_batch.bin"], np.uint8).reshape(20, 3073)
    assert (data.test.read(range(20)).numpy() == rows[:, 1:].reshape(20, 3, 32, 32)).all()
    assert (data.test.labels == rows[:, 0]).all()


def test_cifar100_has_two_label_bytes_and_the_second_counts(tmp_path: Path) -> None:
    files = files100()
    for name, content in files.items():
        (tmp_path / name).write_bytes(content)
    data = load(tmp_path)
    assert data.classes == tuple(f"fine{i}" for i in range(100))
    rows = np.frombuffer(files["test.bin"], np.uint8).reshape(100, 3074)
    assert (data.test.read(range(100)).numpy() == rows[:, 2:].reshape(100, 3, 32, 32)).all()
    assert (data.test.labels == np.arange(100)).all()


def test_python_version_is_refused_unread(tmp_path: Path) -> None:
    payload = b"cos\nsystem\n(S'touch owned'\ntR."
    with pytest.raises(DataError, match="not the binary version"):
        load(tar(tmp_path / "cifar-10-python.tar.gz", {"data_batch_1": payload, "batches.meta": payload}))


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"data_batch_3.bin": None}, "'data_batch_3.bin' is missing"),
        ({"test_batch.bin": b"\0" * 3072}, "'test_batch.bin': 3,072 bytes are not whole records of 3073"),
        ({"test_batch.bin": b"\xff" * 3073}, "test/0: label 255; there are 10 classes"),
    ],
)
def test_broken_batches(tmp_path: Path, change: dict[str, bytes | None], says: str) -> None:
    files = {k: v for k, v in (files10() | change).items() if v is not None}
    with pytest.raises(DataError, match=says):
        load(tar(tmp_path / "x.tar.gz", files))


def test_tar_with_a_link_or_cut_short(tmp_path: Path) -> None:
    path = tmp_path / "x.tar.gz"
    with tarfile.open(path, "w:gz") as t:
        info = tarfile.TarInfo("cifar/data_batch_1.bin")
        info.type, info.linkname = tarfile.SYMTYPE, "/etc/passwd"
        t.addfile(info)
    with pytest.raises(DataError, match="not the binary version"):
        load(path)
    whole = tar(path, files10()).read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(DataError, match=r"can't be read as .tar.gz|is missing|not the binary version"):
        load(path)
