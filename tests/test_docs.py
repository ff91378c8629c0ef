"""Every command and every code block of README and docs runs, in order, as a reader would run it."""

import json
import os
import re
import shlex
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


class Shell:
    """Runs a page in one folder: commands of striate and Python in forks of a warm process, the rest in `sh`."""

    def __init__(self, warm, folder):
        self.warm, self.folder, self.log = warm, folder, folder / "output.log"
        bin_folder = Path(sys.executable).parent
        self.environment = {**os.environ, "PATH": f"{bin_folder}{os.pathsep}{os.environ['PATH']}"}

    def command(self, line):
        """(exit code, output) of a console line."""
        words = shlex.split(line)
        return self.cold(line) if words[0] != "striate" or "||" in words else self.forked(argv=words[1:])

    def cold(self, line):
        """(exit code, output) of a line in a shell of its own."""
        done = subprocess.run(
            line,
            shell=True,
            cwd=self.folder,
            env=self.environment,
            capture_output=True,
            text=True,
            check=False,
        )
        return done.returncode, done.stdout + done.stderr

    def forked(self, **job):
        """(exit code, output) of {argv} or {code}."""
        self.warm.stdin.write(json.dumps({**job, "folder": str(self.folder), "log": str(self.log)}) + "\n")
        self.warm.stdin.flush()
        return int(self.warm.stdout.readline()), self.log.read_text(encoding="utf-8", errors="replace")


@pytest.fixture(scope="module")
def warm():
    """The process that forks; one for all pages of a worker."""
    job = subprocess.Popen(
        [sys.executable, Path(__file__).with_name("warm.py")],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "MPLBACKEND": "Agg"},
    )
    yield job
    job.stdin.close()
    job.wait()
    job.stdout.close()


@pytest.mark.parametrize("page", PAGES, ids=lambda p: p.name)
def test_every_block_runs(page, warm, tmp_path):
    shell = Shell(warm, tmp_path)
    (tmp_path / "examples").symlink_to(ROOT / "examples")
    (tmp_path / "recipes").symlink_to(ROOT / "recipes")
    first = True
    for kind, text in blocks(page):
        assert kind in ("console", "python"), f"{page.name}: a {kind} block that no test runs"
        for job in commands(text) if kind == "console" else [text]:
            if kind == "python":
                code, said = shell.forked(code=job)
            else:  # a page's first command is a process of its own, as a reader's is
                code, said = shell.cold(job) if first else shell.command(job)
                first = False
            assert code == 0, f"{page.name}: {job}\n{said[-4000:]}"


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
