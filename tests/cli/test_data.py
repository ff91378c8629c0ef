"""`striate data`."""

from pathlib import Path

import pytest

from striate.cli import main


def test_offline_says_which_file_belongs_where(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("STRIATE_HOME", str(tmp_path))
    assert main(["data", "download", "mnist", "--offline"]) == 3
    cause, hint = capsys.readouterr().err.splitlines()
    assert str(tmp_path / "data" / "mnist" / "train-images-idx3-ubyte.gz") in cause
    assert "https://" in hint


def test_an_unknown_name_is_answered_with_the_nearest(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["data", "download", "mnits"]) == 2
    assert "did you mean mnist" in capsys.readouterr().err
