"""Fixtures that every room shares: real data beside the checkout, and peers that import without CUDA."""

import os
import signal
import sys
import types
from pathlib import Path

import hypothesis
import pytest
import torch

os.environ.setdefault("KERAS_BACKEND", "torch")
os.environ.setdefault("MPLBACKEND", "Agg")
# torchvision's wheels are built for CUDA builds of torch: without its compiled operators this module can't register.
sys.modules.setdefault("torchvision._meta_registrations", types.ModuleType("torchvision._meta_registrations"))

# No test depends on how fast the machine is, nor on a shell that silences SIGINT of what it starts in the background.
hypothesis.settings.register_profile("striate", deadline=None)
hypothesis.settings.load_profile("striate")
signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The pages come first: one of them at the end would keep one worker for minutes while the other has no work."""
    items.sort(key=lambda item: item.path.name != "test_docs.py")


@pytest.fixture(autouse=True)
def _seed() -> None:
    torch.manual_seed(0)


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder of real data sets; CI has it, a checkout on its own skips the tests that need it."""
    folder = Path(os.environ.get("STRIATE_TEST_DATA", Path(__file__).parents[2] / "shared" / "data"))
    if not folder.is_dir():
        pytest.skip(f"real data not found at {folder}: set STRIATE_TEST_DATA")
    return folder
