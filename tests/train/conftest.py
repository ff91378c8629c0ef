"""Real `striate train` processes for tests to kill, and what they leave behind compared."""

import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from striate.train import checkpoint

CLOCK = ("images_per_second", "seconds")
ENVIRONMENT = {**os.environ, "OMP_NUM_THREADS": "1", "STRIATE_TIMEOUT": "60"}


def striate(*words, ranks=0, restarts=0):
    """Start `striate WORDS`, under torchrun if `ranks`; its output can be read while it runs."""
    head = ["-m", "striate"]
    if ranks:
        head = ["-m", "torch.distributed.run", "--nproc-per-node", ranks, "--max-restarts", restarts,
                "--master-port", 20000 + os.getpid() % 20000, *head]  # fmt: skip
    return subprocess.Popen(
        list(map(str, (sys.executable, *head, *words))),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=ENVIRONMENT,
    )


def finish(job, timeout=120):
    """(exit code, standard output, standard error)"""
    out, err = job.communicate(timeout=timeout)
    return job.returncode, out, err


def workers(job):
    """Process numbers of the ranks that torchrun `job` started, by rank."""
    found = {}
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            parent = int((entry / "stat").read_text().rpartition(")")[2].split()[1])
            if parent == job.pid:
                variables = (entry / "environ").read_bytes().decode(errors="replace").split("\0")
                found[int(next(v for v in variables if v.startswith("RANK="))[5:])] = int(entry.name)
        except (OSError, StopIteration, IndexError):  # it has just ended, or is no rank
            continue
    return [found[rank] for rank in sorted(found)]


def last_state(folder):
    """Tensors and facts that decide what comes next, without what the clock says."""
    tensors, facts = checkpoint.load_state(Path(folder) / "last")
    facts.pop("seconds")
    for row in facts["listeners"]["Record"]["rows"]:
        row.update(dict.fromkeys(CLOCK, 0))
    return tensors, facts


def assert_same(a, b):
    """Two run folders end in the same state to the bit."""
    (x, f), (y, g) = last_state(a), last_state(b)
    assert x.keys() == y.keys()
    assert [k for k in x if not torch.equal(x[k], y[k])] == []
    assert f == g


@pytest.fixture
def processes():
    """`striate`, `finish`, `workers`, `assert_same` and `last_state` of this file."""
    return SimpleNamespace(
        striate=striate, finish=finish, workers=workers, assert_same=assert_same, last_state=last_state
    )
