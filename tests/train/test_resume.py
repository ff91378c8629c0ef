"""kill -9 at any time: what was going on goes on, and ends where the uninterrupted run ends, to the bit."""

import random
import subprocess
import sys
import time

import pytest

from striate.train import checkpoint

NET = "INPUT(8,8,1) => CONV(8,3) => BN => RELU => POOL(2) => FC(32) => RELU => DO(0.3) => FC"
OPTIONS = ("train", "digits", "--model", NET, "--epochs", 40, "-b", 64, "--augment", "shift", "--average", "ema",
           "--ema-decay", 0.99, "--precision", "bf16")  # fmt: skip


def killed_until_done(processes, folder, options, rng):
    """Start the run, kill it, go on, kill it, ...; returns how often it was killed."""
    job, kills = processes.striate(*options, "--save-every", 7, "--output", folder), 0
    while True:
        deadline = time.monotonic() + 60
        before = checkpoint.states(folder / "last") if folder.exists() else []
        while job.poll() is None and kills < 3 and time.monotonic() < deadline:  # not before it got somewhere
            if (folder / "last").is_dir() and checkpoint.states(folder / "last")[-1:] != before[-1:]:
                time.sleep(rng.uniform(0, 0.25))
                break
            time.sleep(0.005)
        if job.poll() is not None or kills == 3:
            code, _, err = processes.finish(job)
            assert code == 0, err
            return kills
        job.kill()
        processes.finish(job)
        kills += 1
        job = processes.striate("train", "--resume", folder)


@pytest.mark.slow
@pytest.mark.parametrize("workers", [0, 2, 4])
def test_killed_at_random_steps(processes, tmp_path, workers):
    options = (*OPTIONS, "--workers", workers)
    code, _, err = processes.finish(processes.striate(*options, "--output", tmp_path / "whole"))
    assert code == 0, err
    assert killed_until_done(processes, tmp_path / "broken", options, random.Random(workers))
    processes.assert_same(tmp_path / "whole", tmp_path / "broken")


SAVING = """
import os, random, signal, sys, time
from itertools import count
from pathlib import Path
import torch
from striate.train.checkpoint import load_state, save_state, states
folder, rng = Path(sys.argv[1]), random.Random(0)
save_state(folder, {"w": torch.zeros(200_000)}, {"i": 0})
for _ in range(200):
    last = load_state(folder)[1]["i"]
    if not (child := os.fork()):
        for i in count(last + 1):
            save_state(folder, {"w": torch.full((200_000,), float(i))}, {"i": i})
    time.sleep(rng.uniform(0, 0.05))
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    tensors, facts = load_state(folder)
    assert facts["i"] >= last and (tensors["w"] == facts["i"]).all()
    assert 1 <= len(states(folder)) <= 3
print("killed 200 times, the last state is", facts["i"])
"""


@pytest.mark.slow
def test_killed_while_saving_200_times(tmp_path):
    """A process that does nothing but save dies at a random time: the newest state always loads, and is whole."""
    command = [sys.executable, "-W", "ignore", "-c", SAVING, str(tmp_path / "last")]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert int(done.stdout.split()[-1]) > 50  # it did save in between
