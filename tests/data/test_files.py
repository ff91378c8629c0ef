"""Where files are kept, on machines that know no home folder too."""

import os
import tempfile
from pathlib import Path

import pytest

from striate.data import files
from striate.errors import UsageError


def _homeless(*_: object) -> Path:
    raise RuntimeError("Could not determine home directory.")


@pytest.fixture
def temporary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.delenv("STRIATE_HOME", raising=False)
    monkeypatch.setattr(tempfile, "gettempdir", lambda: str(tmp_path))
    return tmp_path / f"striate-{os.getuid()}" / ".cache" / "striate"


def test_what_is_named_wins(monkeypatch: pytest.MonkeyPatch, temporary: Path) -> None:
    monkeypatch.setenv("STRIATE_HOME", "/some/where")
    monkeypatch.setattr(Path, "home", _homeless)
    assert files.home() == Path("/some/where")


@pytest.mark.parametrize("kind", ["unknown", "read-only"])
def test_without_a_home_there_is_a_folder_of_ones_own(
    kind: str, monkeypatch: pytest.MonkeyPatch, temporary: Path
) -> None:
    if kind == "unknown":
        monkeypatch.setattr(Path, "home", _homeless)
    else:
        monkeypatch.setattr(os, "access", lambda path, mode: False)
    assert files.home() == temporary
    assert temporary.parents[1].stat().st_mode & 0o777 == 0o700


def test_a_folder_of_somebody_else_is_not_trusted(monkeypatch: pytest.MonkeyPatch, temporary: Path) -> None:
    monkeypatch.setattr(Path, "home", _homeless)
    files.home()
    temporary.parents[1].rename(temporary.parents[2] / "striate-4711")
    monkeypatch.setattr(os, "getuid", lambda: 4711)
    with pytest.raises(UsageError, match="belongs to another user"):
        files.home()
