"""One version, everywhere."""

import tomllib
from pathlib import Path

import striate

ROOT = Path(__file__).parents[2]


def test_pyproject_and_package_agree():
    with (ROOT / "pyproject.toml").open("rb") as f:
        assert tomllib.load(f)["project"]["version"] == striate.__version__


def test_the_changelog_knows_the_version_or_what_is_to_come():
    text = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    assert "## [Unreleased]" in text or f"## [{striate.__version__}]" in text
