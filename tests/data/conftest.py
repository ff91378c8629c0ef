"""A private STRIATE_HOME for every test, and small real picture folders."""

from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest


@pytest.fixture(autouse=True)
def _home(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STRIATE_HOME", str(tmp_path_factory.mktemp("home")))


WriteFolder = Callable[[dict[str, int]], Path]


@pytest.fixture
def write_folder(tmp_path: Path) -> WriteFolder:
    """`{"train/cat": 3}` -> PNGs of 10x12 pixels in tmp_path/images; each file has its own grey value."""

    def write(counts: dict[str, int]) -> Path:
        root, value = tmp_path / "images", 0
        for folder, n in counts.items():
            (root / folder).mkdir(parents=True, exist_ok=True)
            for i in range(n):
                cv2.imwrite(str(root / folder / f"{i}.png"), np.full((10, 12, 3), value % 256, np.uint8))
                value += 1
        return root

    return write
