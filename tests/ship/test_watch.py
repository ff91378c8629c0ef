"""A folder that grows, and a camera faster than the network."""

import shutil
import threading
import time
from itertools import islice
from pathlib import Path

import cv2
import numpy as np
import pytest

from striate.errors import DataError
from striate.ship import Predictor, load
from striate.ship.watch import watch
from striate.train import Run


@pytest.fixture(scope="module")
def predictor(run: Run) -> Predictor:
    return load(run.folder, "torch")


def test_what_lies_there_then_what_comes(predictor: Predictor, digits_folder: Path, tmp_path: Path) -> None:
    for name in ("00.png", "01.png"):
        shutil.copy(digits_folder / name, tmp_path)
    rows = watch(predictor, str(tmp_path))
    first = list(islice(rows, 2))
    assert [Path(r["file"]).name for r in first] == ["00.png", "01.png"]
    shutil.copy(digits_folder / "02.png", tmp_path)
    (tmp_path / "note.txt").write_text("not a picture")
    third = next(rows)
    assert Path(third["file"]).name == "02.png"
    assert {"time", "label", "probability", "top"} <= third.keys()
    assert third["label"] == predictor(digits_folder / "02.png")[0].label


def test_a_file_is_read_when_it_is_whole(predictor: Predictor, digits_folder: Path, tmp_path: Path) -> None:
    whole = (digits_folder / "03.png").read_bytes()

    def write() -> None:
        with (tmp_path / "slow.png").open("wb", buffering=0) as f:
            for i in range(0, len(whole), 24):
                f.write(whole[i : i + 24])
                time.sleep(0.1)

    writer = threading.Thread(target=write)
    writer.start()
    row = next(watch(predictor, str(tmp_path)))
    writer.join()
    assert "error" not in row


def test_a_bad_picture_is_one_bad_line(predictor: Predictor, digits_folder: Path, tmp_path: Path) -> None:
    shutil.copy(digits_folder / "00.png", tmp_path / "a.png")
    (tmp_path / "b.png").write_bytes(b"\x89PNG\r\n\x1a\nbroken")
    shutil.copy(digits_folder / "01.png", tmp_path / "c.png")
    rows = list(watch(predictor, str(tmp_path), once=True))
    assert ["error" in r for r in rows] == [False, True, False]
    assert "PNG is cut short" in rows[1]["error"]


def test_one_bad_picture_alone_is_a_line_too(predictor: Predictor, tmp_path: Path) -> None:
    (tmp_path / "b.png").write_bytes(b"\x89PNG\r\n\x1a\nbroken")
    (row,) = watch(predictor, str(tmp_path / "b.png"), clock=lambda: 7.0)
    assert row == {"time": 7.0, "file": str(tmp_path / "b.png"), "error": row["error"]}
    assert "PNG is cut short" in row["error"]


def test_a_source_that_is_not_there(predictor: Predictor, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"no folder, video or picture at .*typo"):
        next(watch(predictor, str(tmp_path / "typo")))


def test_a_folder_named_as_a_number_is_no_camera(
    predictor: Predictor, digits_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("2024").mkdir()
    picture = next(digits_folder.iterdir())
    Path("2024", picture.name).write_bytes(picture.read_bytes())
    assert [row["file"] for row in watch(predictor, "2024", once=True)] == [str(Path("2024", picture.name))]


def test_an_empty_folder_once(predictor: Predictor, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no images in this folder"):
        list(watch(predictor, str(tmp_path), once=True))


def test_a_camera_never_lags(predictor: Predictor, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two hundred frames a second against a network that takes 20 ms: the frames answered are new ones."""

    class Camera:
        def __init__(self, number: int) -> None:
            self.frame = 0

        def isOpened(self) -> bool:  # noqa: N802
            return True

        def read(self) -> tuple[bool, np.ndarray]:
            time.sleep(0.005)
            self.frame += 1
            return self.frame <= 60, np.zeros((24, 32, 3), np.uint8)

        def release(self) -> None:
            pass

    def slow(pixels: np.ndarray) -> np.ndarray:
        time.sleep(0.02)
        return predictor.probabilities(pixels)

    monkeypatch.setattr(cv2, "VideoCapture", Camera)
    lazy = Predictor(predictor.classes, predictor.preprocess, slow, "slow")
    numbers = [int(r["file"].split("#")[1]) for r in watch(lazy, "0")]
    assert numbers == sorted(set(numbers))
    assert len(numbers) < 45
    assert numbers[-1] >= 55
