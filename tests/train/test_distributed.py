"""Two processes are one: the same weights, the same metrics, one folder; and they end together."""

import os
import signal
import subprocess
import sys
import time

import pytest
import torch
import torch.distributed as dist
from torch import nn

from striate.errors import StriateError
from striate.train import Run, checkpoint
from striate.train.distributed import Group, SharedBatchNorm, _share_statistics

NET = "INPUT(8,8,1) => CONV(8,3) => BN => RELU => POOL(2) => FC(32) => RELU => FC"
SAME = ("train", "digits", "--model", NET, "--epochs", 3, "-b", 100, "--augment", "none", "--precision", "fp32",
        "--accumulate", 2, "--average", "ema", "--ema-decay", 0.9)  # fmt: skip


def assert_same_metrics(one, two):
    for a, b in zip(one.history, two.history, strict=True):
        for k in ("train_loss", "train_accuracy", "val_loss", "val_accuracy", "lr"):
            assert a[k] == pytest.approx(b[k], rel=1e-5)


@pytest.fixture
def alone(tmp_path):
    """A group of one process, so that collective operations run."""
    dist.init_process_group("gloo", store=dist.FileStore(str(tmp_path / "store"), 1), rank=0, world_size=1)
    yield
    dist.destroy_process_group()


@pytest.mark.parametrize("momentum", [0.1, None])
@pytest.mark.usefixtures("alone")
def test_shared_batch_norm_of_one_rank_is_batch_norm(momentum):
    mine, theirs = (nn.Sequential(nn.BatchNorm2d(3, momentum=momentum)) for _ in range(2))
    _share_statistics(mine)
    assert isinstance(mine[0], SharedBatchNorm)
    for _ in range(2):
        x = 3 * torch.randn(5, 3, 4, 4) + 2
        a, b = x.clone().requires_grad_(), x.clone().requires_grad_()
        out, expected = mine(a), theirs(b)
        torch.testing.assert_close(out, expected, rtol=1e-5, atol=1e-5)
        weights = torch.randn_like(out)
        (out * weights).sum().backward()
        (expected * weights).sum().backward()
        torch.testing.assert_close(a.grad, b.grad, rtol=1e-4, atol=1e-5)
    for k, v in theirs.state_dict().items():
        torch.testing.assert_close(mine.state_dict()[k], v)
    torch.testing.assert_close(mine.eval()(x), theirs.eval()(x))


def test_ranks_that_disagree_are_told_what_about():
    group = Group(0, 2)
    group.gather = lambda facts: [facts, {**facts, "--lr": 0.2}]
    with pytest.raises(StriateError, match=r"ranks disagree on --lr: 0\.1 on rank 0, 0\.2 on rank 1"):
        group.agree({"--epochs": 3, "--lr": 0.1})


@pytest.mark.slow
def test_two_ranks_give_the_result_of_one_process(processes, tmp_path):
    """The same sums in another order: metrics agree to 1e-5, weights to 1e-4 of the largest."""
    for ranks, name in ((0, "one"), (2, "two")):
        code, out, err = processes.finish(processes.striate(*SAME, "--output", tmp_path / name, ranks=ranks))
        assert code == 0, err
        assert out.count("run folder") == 1
    one, two = (Run.open(tmp_path / name) for name in ("one", "two"))
    assert_same_metrics(one, two)
    assert one.summary["test_accuracy"] == two.summary["test_accuracy"]
    a, b = (run.model().module.state_dict() for run in (one, two))
    for k in a:
        torch.testing.assert_close(a[k], b[k], rtol=0, atol=1e-4 * max(1.0, a[k].abs().max().item()))


@pytest.mark.slow
@pytest.mark.parametrize(("first", "then"), [(0, 2), (2, 0)])
def test_a_run_goes_on_with_another_number_of_ranks(processes, tmp_path, first, then):
    """Stopped in the middle of an epoch, whose sums of losses move to the ranks that are there now."""
    steps = [
        processes.striate(*SAME, "--output", tmp_path / "whole"),
        processes.striate(*SAME, "--stop-after", 1e-6, "--output", tmp_path / "r", ranks=first),
    ]
    for job in steps:
        code, _, err = processes.finish(job)
        assert code == 0, err
    job = processes.striate("train", "--resume", tmp_path / "r", "--stop-after", 3600, ranks=then)
    code, _, err = processes.finish(job)
    assert code == 0, err
    whole, run = Run.open(tmp_path / "whole"), Run.open(tmp_path / "r")
    assert len(run.history) == 3
    assert_same_metrics(whole, run)


@pytest.mark.slow
def test_a_long_look_at_the_test_split_may_outlast_every_patience(tmp_path):
    """The first rank looks alone, for longer than an exchange may take; nobody waits for it in one."""
    program = tmp_path / "long.py"
    program.write_text(
        "import sys, time; from striate.cli import main; from striate.train import session\n"
        "look = session.evaluate\n"
        "session.evaluate = lambda *a: (time.sleep(8), look(*a))[1]\n"
        f"sys.exit(main({[str(w) for w in (*SAME, '--output', tmp_path / 'r')]!r}))\n"
    )
    command = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", "2", str(program)]
    env = {**os.environ, "STRIATE_TIMEOUT": "4", "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=120, env=env)
    assert done.returncode == 0, done.stderr
    assert Run.open(tmp_path / "r").finished


@pytest.mark.slow
def test_ranks_with_other_recipes_or_data_stop_at_the_start(processes, tmp_path):

    program = tmp_path / "other.py"
    program.write_text(
        "import os, sys; from striate.cli import main\n"
        "seed = ['--seed', os.environ['RANK']]\n"
        f"sys.exit(main({[str(w) for w in (*SAME, '--output', tmp_path / 'r')]!r} + seed))\n"
    )
    command = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", "2", str(program)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)
    assert done.returncode != 0
    assert "ranks disagree on --seed: 0 on rank 0, 1 on rank 1" in done.stderr
    assert not (tmp_path / "r").exists()


def started(processes, folder, **options):
    """A long run of two ranks, once it has trained for a while."""
    endless = [*SAME, "--epochs", 10**5, "--save-every", 5, "--output", folder]
    job = processes.striate(*endless, ranks=2, **options)
    for _ in range(3):
        assert "epoch" in job.stdout.readline()
    return job


@pytest.mark.slow
def test_a_killed_rank_ends_all_in_seconds_and_the_state_is_whole(processes, tmp_path):

    job = started(processes, tmp_path / "r")
    ranks = processes.workers(job)
    os.kill(ranks[1], signal.SIGKILL)
    began = time.monotonic()
    code, _, _ = processes.finish(job)
    assert code != 0
    assert time.monotonic() - began < 30
    assert checkpoint.load_state(tmp_path / "r" / "last")[1]["epoch"] >= 2
    assert not [pid for pid in ranks if os.path.exists(f"/proc/{pid}")]


@pytest.mark.slow
def test_a_signal_to_one_rank_stops_all_at_the_same_step(processes, tmp_path):

    job = started(processes, tmp_path / "r")
    os.kill(processes.workers(job)[1], signal.SIGTERM)
    _, _, err = processes.finish(job)
    assert err.count("error: stopped by SIGTERM") == 2
    assert checkpoint.load_state(tmp_path / "r" / "last")[1]["rate"] == 1.0


@pytest.mark.slow
def test_a_listener_of_the_first_rank_stops_all(processes, tmp_path):
    program = tmp_path / "stops.py"
    program.write_text(
        "from striate.train import recipe, train\n"
        "class Stops:\n"
        "    def on_epoch(self, state):\n"
        "        state.rate, state.stop = 0.5, 'enough'\n"
        f"train(recipe({{'data': 'digits', 'model': {NET!r}, 'epochs': 9}}), {str(tmp_path / 'r')!r}, [Stops()])\n"
    )
    command = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", "2", str(program)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)
    assert done.returncode == 0, done.stderr
    assert Run.open(tmp_path / "r").summary["stopped"] == "enough"
    assert len(Run.open(tmp_path / "r").history) == 1


@pytest.mark.slow
def test_a_rate_set_at_a_step_is_that_of_all_ranks(tmp_path):
    program = tmp_path / "slows.py"
    program.write_text(
        "import sys; from striate.train import recipe, train\n"
        "class Slows:\n"
        "    def on_step(self, state):\n"
        "        state.rate = 0.5 ** state.step\n"
        f"fields = {{'data': 'digits', 'model': {NET!r}, 'epochs': 2, 'augment': 'none', 'precision': 'fp32'}}\n"
        "train(recipe(fields), sys.argv[1], [Slows()], report=False)\n"
    )
    torchrun = ["-m", "torch.distributed.run", "--nproc-per-node", "2"]
    for folder, head in (("one", []), ("two", torchrun)):
        command = [sys.executable, *head, str(program), str(tmp_path / folder)]
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)
        assert done.returncode == 0, done.stderr
    assert_same_metrics(Run.open(tmp_path / "one"), Run.open(tmp_path / "two"))


@pytest.mark.slow
def test_torchrun_restarts_from_the_last_state(processes, tmp_path):
    """Killed and started again by torchrun, the run ends as the one that nobody disturbed, to the bit."""

    options = [*SAME, "--epochs", 60, "--save-every", 5]
    code, _, err = processes.finish(processes.striate(*options, "--output", tmp_path / "whole", ranks=2))
    assert code == 0, err
    job = processes.striate(*options, "--output", tmp_path / "r", ranks=2, restarts=2)
    for _ in range(5):
        assert "epoch" in job.stdout.readline()
    os.kill(processes.workers(job)[1], signal.SIGKILL)
    code, _, err = processes.finish(job)
    assert code == 0, err
    processes.assert_same(tmp_path / "whole", tmp_path / "r")
