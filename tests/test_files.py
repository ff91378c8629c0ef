"""Files are written whole or not at all."""

import pytest

from striate.files import write_text, write_whole


def test_a_failure_leaves_the_old_content_and_no_litter(tmp_path):
    path = write_text(tmp_path / "a.txt", "old")

    def fail(temporary):
        temporary.write_text("half")
        raise OSError("disk full")

    with pytest.raises(OSError, match="disk full"):
        write_whole(path, fail)
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_new_content_replaces_the_old_with_ordinary_permissions(tmp_path):
    path = write_text(tmp_path / "a.txt", "old")
    (tmp_path / "plain").touch()
    assert write_text(path, "nëw").read_text(encoding="utf-8") == "nëw"
    assert path.stat().st_mode == (tmp_path / "plain").stat().st_mode
