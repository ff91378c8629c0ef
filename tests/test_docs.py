"""Every command and every code block of README and docs runs, in order, as a reader would run it."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
BLOCK = re.compile(r"^```(\w+)\n(.*?)^```", re.M | re.S)


def blocks(page):
    return [(kind, text) for kind, text in BLOCK.findall(page.read_text(encoding="utf-8")) if kind != "text"]


def commands(text):
    """The `$` lines of a console block with their continuation lines; `make` starts from a clone, so CI runs it."""
    lines = text.replace("\\\n", " ").splitlines()
    found = [line.removeprefix("$ ").split("  #")[0] for line in lines if line.startswith("$ ")]
    return [c for c in found if not c.startswith("make ")]


@pytest.mark.parametrize("page", PAGES, ids=lambda p: p.name)
def test_every_block_runs(page, tmp_path):
    bin_folder = Path(sys.executable).parent
    environment = {**os.environ, "PATH": f"{bin_folder}{os.pathsep}{os.environ['PATH']}", "MPLBACKEND": "Agg"}
    (tmp_path / "examples").symlink_to(ROOT / "examples")
    (tmp_path / "recipes").symlink_to(ROOT / "recipes")
    for kind, text in blocks(page):
        assert kind in ("console", "python"), f"{page.name}: a {kind} block that no test runs"
        jobs = commands(text) if kind == "console" else [[sys.executable, "-W", "error", "-c", text]]
        for job in jobs:
            shell = isinstance(job, str)
            done = subprocess.run(
                job, shell=shell, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False
            )
            assert done.returncode == 0, f"{page.name}: {job}\n{done.stdout[-2000:]}{done.stderr[-2000:]}"


@pytest.mark.parametrize("page", PAGES, ids=lambda p: p.name)
def test_every_link_inside_the_project_leads_somewhere(page):
    for target in re.findall(r"\]\((?!https?:|#)([^)#]+)", page.read_text(encoding="utf-8")):
        assert (page.parent / target).exists(), f"{page.name}: {target}"


def test_the_page_on_diagrams_names_every_unit_with_its_arguments():
    from striate.diagram.units import UNITS

    rows = [
        line for line in (ROOT / "docs" / "diagrams.md").read_text().splitlines() if line.startswith("| `")
    ]
    for unit in UNITS.values():
        row = next((r for r in rows if f"`{unit.name}`" in r.split("|")[1]), "")
        missing = [p.name for p in unit.parameters if not re.search(rf"\b{p.name}\b", row)]
        assert row, f"{unit.name} has no row"
        assert not missing, f"{unit.name}: {missing} not described"
