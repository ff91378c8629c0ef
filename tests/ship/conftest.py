"""One small network, trained for seconds on real digits, and its graph, which takes longer: shared by the room."""

import os
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from striate.train import Run, recipe, train


@pytest.fixture(scope="session", autouse=True)
def _home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Converted graphs are kept for this session alone."""
    before = os.environ.get("STRIATE_HOME")
    os.environ["STRIATE_HOME"] = str(tmp_path_factory.mktemp("home"))
    yield
    os.environ.pop("STRIATE_HOME")
    if before is not None:
        os.environ["STRIATE_HOME"] = before


@pytest.fixture(scope="session")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    told = {"data": "digits", "model": "lenet5", "epochs": 3, "device": "cpu"}
    run = train(recipe(told), tmp_path_factory.mktemp("ship") / "run", report=False)
    model = run.model()  # a crop, so that a picture that is cut twice shows
    model.preprocess = replace(model.preprocess, resize="crop", crop_pct=0.9)
    model.save(run.folder / "model.safetensors")
    return run


@pytest.fixture(scope="session")
def photo() -> np.ndarray:
    """(90, 120, 3) with slopes and edges, as photographs have."""
    from PIL import Image

    noise = np.random.default_rng(0).integers(0, 256, (9, 12, 3), np.uint8)
    return np.asarray(Image.fromarray(noise).resize((120, 90), Image.Resampling.BICUBIC))


@pytest.fixture(scope="session")
def digits_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Forty digits as PNG files."""
    from PIL import Image
    from sklearn.datasets import load_digits

    folder = tmp_path_factory.mktemp("digits")
    for i, pixels in enumerate(load_digits().images[:40]):
        Image.fromarray(np.rint(pixels * (255 / 16)).astype(np.uint8)).save(folder / f"{i:02d}.png")
    return folder
