"""What the room offers, and how little it costs to open."""

import subprocess
import sys

import pytest

import striate.data


def test_every_public_name_is_there() -> None:
    for name in striate.data.__all__:
        assert getattr(striate.data, name).__name__ == name
    with pytest.raises(AttributeError, match="lod"):
        striate.data.lod  # noqa: B018


def test_opening_the_room_imports_nothing_heavy() -> None:
    code = (
        "import sys, striate.data; from striate.data import source, doctor, shapes\n"
        "print([m for m in ('torch', 'cv2', 'sklearn', 'pandas', 'scipy', 'matplotlib') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
