"""What a network computes with is in its state: a model file is filled into a module that has no values yet."""

import re
from pathlib import Path

import pytest

import striate

SOURCE = Path(striate.__file__).parent


@pytest.mark.parametrize("path", sorted(SOURCE.rglob("*.py")), ids=lambda path: str(path.relative_to(SOURCE)))
def test_no_buffer_is_kept_out_of_the_state(path):
    assert not re.search(
        r"register_buffer\([^()]*(\([^()]*\)[^()]*)*\bFalse", path.read_text(encoding="utf-8")
    )
