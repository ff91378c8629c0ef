"""Runs as people have them: several labels, one logit, stopped early, gone on with, changed on the way."""

import json
import os
import signal

import cv2
import numpy as np
import pytest
import torch

from striate.errors import StriateError, UsageError
from striate.train import Run, checkpoint, recipe, resume, train
from striate.train.events import Listener
from striate.train.folder import hold
from striate.train.session import repeat_command
from striate.train.signals import Interrupted

NET = "INPUT(8,8,1) => CONV(8,3) => BN => RELU => POOL(2) => FC(32) => RELU => DO(0.3) => FC"
DIGITS = {"data": "digits", "model": NET, "batch_size": 128}
TIMES = ("images_per_second", "seconds")


def run_of(folder, report=False, **settings):
    return train(recipe({**DIGITS, **settings}), folder, report=report)


def state_of(run):
    """All that decides what comes next, without what the clock says."""
    tensors, facts = checkpoint.load_state(run.folder / "last")
    facts.pop("seconds")
    for row in facts["listeners"]["Record"]["rows"]:
        row.update(dict.fromkeys(TIMES, 0))
    return tensors, facts


def same(a, b):
    (x, f), (y, g) = state_of(a), state_of(b)
    assert x.keys() == y.keys()
    assert all(torch.equal(x[k], y[k]) for k in x)
    assert f == g


def draw_shapes(folder, n=150):
    """Small pictures with a disc, a square, both or neither, listed in a CSV file."""
    rng, rows = np.random.default_rng(0), ["path,labels"]
    for i in range(n):
        image, labels = rng.integers(0, 60, (16, 16, 3)).astype(np.uint8), []
        x, y = rng.integers(3, 12, 2).tolist()
        if rng.random() < 0.5:
            cv2.circle(image, (x, y), 3, (0, 0, 255), -1)
            labels.append("disc")
        if rng.random() < 0.5:
            cv2.rectangle(image, (y, x), (y + 4, x + 4), (0, 255, 0), -1)
            labels.append("square")
        cv2.imwrite(str(folder / f"{i}.png"), image)
        rows.append(f"{i}.png,{'|'.join(labels)}")
    (folder / "labels.csv").write_text("\n".join(rows))
    return folder / "labels.csv"


def test_several_labels_from_a_table_to_the_report(tmp_path):
    table = draw_shapes(tmp_path)
    net = "INPUT => CONV(8,3) => BN => RELU => POOL(2) => CONV(16,3) => BN => RELU => POOL(2) => FC"
    run = run_of(tmp_path / "r", data=str(table), model=net, epochs=12, batch_size=16, report=True)
    assert run.recipe.loss == "binary-cross-entropy"
    assert run.summary["test_map"] > 0.9
    said = run.evaluate().to_json()
    assert said["map"] == run.summary["test_map"]
    assert [row["name"] for row in said["per_label"]] == ["disc", "square"]
    assert {"val_map", "val_accuracy"} <= run.history[0].keys()
    answer = run.model().predict([tmp_path / "0.png"])[0]
    assert answer["label"] == "|".join(answer["labels"])
    page = (run.folder / "report.html").read_text()
    assert "average precision" in page
    assert "Label by label" in page
    with pytest.raises(UsageError, match="cross-entropy chooses one class"):
        run_of(tmp_path / "x", data=str(table), model=net, loss="cross-entropy")


@pytest.mark.parametrize(
    "options",
    [
        {"average": "ema", "ema_decay": 0.9, "lookahead": 3, "clip": 1.0, "opt": "muon", "bias_lr": 2.0},
        {"average": "swa", "accumulate": 3, "loss": "focal", "smoothing": 0.1, "opt": "sgd", "lr": 0.05},
        {"opt": "gd", "workers": 0, "whiten": True, "precision": "bf16"},
        {
            "sched": "plateau",
            "plateau": 1,
            "patience": 50,
            "monitor": "loss",
            "decay_all": True,
            "workers": 4,
        },
        {"grow": 0.5, "model": "INPUT(8,8,1) => CONV(4) => BN => RELU => GAP => FC"},
    ],
    ids=lambda o: next(iter(o)),
)
def test_stopped_and_resumed_is_the_uninterrupted_run_to_the_bit(tmp_path, options):
    """10 batches an epoch; stopped in the middle of the second and of the last epoch."""
    options = {"epochs": 4, **options}
    whole = run_of(tmp_path / "whole", **options)
    listener = StopAfter(14)
    with pytest.raises(StriateError, match="stopped by"):
        train(recipe({**DIGITS, **options}), tmp_path / "r", [listener], report=False)
    with pytest.raises(StriateError, match="stopped by"):
        resume(tmp_path / "r", [StopAfter(19)], report=False)
    same(whole, resume(tmp_path / "r", report=False))
    assert torch.equal(whole.model().module[0].weight, Run.open(tmp_path / "r").model().module[0].weight)
    assert len(Run.open(tmp_path / "r").history) == 4
    told = {k: v for k, v in whole.summary.items() if k in ("best_epoch", "val_accuracy", "test_accuracy")}
    assert told.items() <= Run.open(tmp_path / "r").summary.items()


class StopAfter:
    def __init__(self, steps):
        self.left = steps

    def on_step(self, state):
        self.left -= 1
        if not self.left:
            os.kill(os.getpid(), signal.SIGTERM)


def test_a_changed_setting_is_shown_and_refused_unless_allowed(tmp_path):
    run = run_of(tmp_path / "r", epochs=1)
    with pytest.raises(UsageError) as caught:
        resume(run.folder, epochs=2, batch_size=64, lr=0.5, workers=0)
    assert "--batch-size 128 -> 64" in str(caught.value)
    assert "--lr 0.003 -> 0.5" in str(caught.value)
    assert "workers" not in str(caught.value)
    assert "--allow-changes" in caught.value.hint
    assert run.recipe.batch_size == 128
    longer = resume(run.folder, epochs=2, batch_size=64, lr=0.5, opt="sgd", report=False, allow_changes=True)
    assert longer.summary["epochs"] == 2
    assert longer.recipe.lr == 0.5
    with pytest.raises(UsageError, match="keeps what it began with: its --init is None"):
        resume(run.folder, epochs=3, init="zeros", allow_changes=True)
    with pytest.raises(UsageError, match="keeps what it began with: its --model"):
        resume(run.folder, epochs=3, model="lenet5", allow_changes=True)
    with pytest.raises(UsageError, match="keeps what it began with: its --resize is squash"):
        resume(run.folder, epochs=3, resize="pad", allow_changes=True)


def test_another_optimiser_has_its_own_rate_and_decay(tmp_path):
    run = run_of(tmp_path / "r", epochs=1)
    assert (run.recipe.lr, run.recipe.weight_decay) == (0.003, 0.01)
    longer = resume(run.folder, epochs=2, opt="sgd", report=False, allow_changes=True)
    assert (longer.recipe.lr, longer.recipe.weight_decay) == (0.05, 5e-4)


def test_a_change_that_the_state_does_not_fit_leaves_the_run_as_it_was(tmp_path):
    pixels = np.random.default_rng(0).integers(0, 256, (60, 8, 8), np.uint8)
    np.savez(tmp_path / "two.npz", x=pixels, y=np.arange(60) % 2)
    run = run_of(tmp_path / "r", epochs=1, data=str(tmp_path / "two.npz"), batch_size=16)
    with pytest.raises(UsageError, match=r"is that of other settings: Error.* in loading state_dict"):
        resume(run.folder, epochs=2, loss="binary-cross-entropy", allow_changes=True)
    assert resume(run.folder, epochs=2, report=False).summary["epochs"] == 2


def test_a_diagram_file_may_change_or_go(tmp_path):
    file = tmp_path / "net.diagram"
    file.write_text("# mine\nINPUT(8,8,1) => FC(16) => RELU => FC\n")
    run = run_of(tmp_path / "r", epochs=1, model=str(file))
    before = run.evaluate().accuracy
    file.unlink()
    again = Run.open(run.folder)
    assert again.evaluate().accuracy == before
    assert resume(run.folder, epochs=2, report=False).summary["epochs"] == 2


def test_a_change_to_a_finished_run_is_refused_too(tmp_path):
    run = run_of(tmp_path / "r", epochs=1)
    with pytest.raises(UsageError, match=r"another run: --lr 0\.003 -> 5\.0"):
        resume(run.folder, lr=5.0)


class Dies(Listener):
    """Ends the process as far as the run can tell, at its first `event`."""

    def __init__(self, event):
        setattr(self, event, self.die)

    def die(self, state):
        raise ZeroDivisionError


@pytest.mark.parametrize("event", ["on_start", "on_step"])
def test_killed_before_the_first_save_was_due(tmp_path, event):
    """Other threads that decode make no difference."""
    whole = run_of(tmp_path / "whole", epochs=2)
    with pytest.raises(ZeroDivisionError):
        train(recipe({**DIGITS, "epochs": 2}), tmp_path / "r", [Dies(event)], report=False)
    same(whole, resume(tmp_path / "r", report=False, workers=0))


def test_killed_while_the_test_split_is_measured(tmp_path, monkeypatch):
    def killed(*_):
        raise ZeroDivisionError

    whole = run_of(tmp_path / "r", epochs=1)
    first = whole.summary
    monkeypatch.setattr("striate.train.session.evaluate", killed)
    with pytest.raises(ZeroDivisionError):
        resume(whole.folder, epochs=2, report=False)
    monkeypatch.undo()
    assert whole.summary == first  # of the first epoch alone
    again = resume(whole.folder, report=False).summary
    assert (again["epochs"], first["epochs"]) == (2, 1)
    assert again["test_accuracy"] == Run.open(whole.folder).evaluate().accuracy


class SignalsAtTheEnd:
    def on_epoch(self, state):
        if state.epoch == state.epochs:
            os.kill(os.getpid(), signal.SIGTERM)


def test_a_signal_while_the_last_epoch_is_measured(tmp_path):
    with pytest.raises(Interrupted) as caught:
        train(recipe({**DIGITS, "epochs": 2}), tmp_path / "r", [SignalsAtTheEnd()], report=False)
    assert caught.value.exit_code == 143
    same(run_of(tmp_path / "whole", epochs=2), resume(tmp_path / "r", report=False))


def test_another_version_of_torch_is_a_change(tmp_path):
    run = run_of(tmp_path / "r", epochs=1)
    facts = {**run.environment, "torch": "1.0"}
    (run.folder / "environment.json").write_text(json.dumps(facts))
    with pytest.raises(UsageError, match=r"torch 1\.0 -> "):
        resume(run.folder, epochs=2)


def test_a_batch_size_changed_in_mid_epoch_goes_on_at_the_same_image(tmp_path):
    with pytest.raises(StriateError):
        train(recipe({**DIGITS, "epochs": 1}), tmp_path / "r", [StopAfter(4)], report=False)
    steps = Steps()
    resume(tmp_path / "r", [steps], report=False, allow_changes=True, batch_size=64)
    assert steps.seen == 20 - 8  # 1257 images: 4 batches of 128 were done, 8 of 20 batches of 64


class Steps:
    seen = 0

    def on_step(self, state):
        self.seen += 1


def test_early_stopping_gives_the_best_weights_and_stays_stopped(tmp_path):
    run = run_of(tmp_path / "r", epochs=40, patience=2, lr=0.03, sched="constant")
    done = run.summary["epochs"]
    assert done < 40
    assert run.summary["stopped"] == "no improvement in 2 epochs"
    assert run.summary["best_epoch"] == done - 2
    assert run.evaluate(split="val").accuracy == pytest.approx(run.summary["val_accuracy"])
    assert resume(run.folder, report=False, workers=0).summary == run.summary  # nothing to do
    longer = resume(run.folder, report=False, epochs=45)
    assert longer.summary["epochs"] > done


def test_time_is_up_in_mid_epoch_and_more_time_goes_on_exactly(tmp_path):
    whole = run_of(tmp_path / "whole", epochs=3)
    run = run_of(tmp_path / "r", epochs=3, stop_after=1e-6)
    assert run.summary["stopped"] == "1e-06 seconds are over"
    assert run.summary["test_accuracy"] is not None
    assert checkpoint.load_state(run.folder / "last")[1]["step"] == 1
    same(run, resume(run.folder, report=False))  # the time is still over
    same(run, resume(run.folder, report=False, workers=0))
    same(whole, resume(run.folder, report=False, stop_after=3600))
    assert len(Run.open(tmp_path / "r").history) == 3


def test_a_loss_that_is_no_number_leaves_the_last_good_state(tmp_path):
    run = run_of(tmp_path / "r", epochs=1)
    before = {
        p.name: p.read_bytes()
        for p in (*checkpoint.states(run.folder / "last"), run.folder / "model.safetensors")
    }
    with pytest.raises(StriateError, match=r"became (nan|inf) in epoch \d, batch \d+ of 10"):
        resume(run.folder, epochs=3, lr=900, weight_decay=0.01, opt="sgd", allow_changes=True, report=False)
    for name, content in before.items():
        path = run.folder / name if name.startswith("model") else run.folder / "last" / name
        assert path.read_bytes() == content


def test_two_processes_cannot_have_one_run(tmp_path):
    run = run_of(tmp_path / "r", epochs=1)
    with hold(run.folder), pytest.raises(UsageError, match="in use by another process"):
        resume(run.folder, epochs=2)
    assert resume(run.folder, epochs=2, report=False).summary["epochs"] == 2


def test_what_a_killed_process_left_is_removed(tmp_path):
    run = run_of(tmp_path / "r", epochs=1)
    for left in (run.folder / ".model.safetensors.abc", run.folder / "last" / ".000009-0.safetensors.xyz"):
        left.write_bytes(b"half")
    resume(run.folder, epochs=2, report=False)
    assert not list(run.folder.rglob(".*"))


@pytest.mark.parametrize(
    "damage", [lambda b: b[:-1], lambda b: b"\0" * len(b), lambda b: b[:-9] + bytes([b[-9] ^ 1]) + b[-8:]]
)
def test_a_damaged_state_is_named_with_the_way_on(tmp_path, damage):
    run = run_of(tmp_path / "r", epochs=3, save_every=10)
    *_, older, newest = checkpoint.states(run.folder / "last")
    newest.write_bytes(damage(newest.read_bytes()))
    with pytest.raises(StriateError, match="is damaged") as caught:
        resume(run.folder, epochs=5)
    assert older.name in caught.value.hint
    newest.unlink()
    assert resume(run.folder, epochs=5, report=False).summary["epochs"] == 5


def test_at_most_two_states_are_kept(tmp_path):
    run = run_of(tmp_path / "r", epochs=2, save_every=3)
    names = [p.name for p in (run.folder / "last").iterdir()]
    assert len(names) == 2
    assert all(name.endswith(".safetensors") for name in names)


def test_deterministic_names_what_it_refuses(tmp_path, monkeypatch):
    from striate.train.loop import Loop

    def step(self, *batch):
        assert torch.are_deterministic_algorithms_enabled()
        raise RuntimeError("put_ does not have a deterministic implementation, but you set ...")

    monkeypatch.setattr(Loop, "_step", step)
    with pytest.raises(StriateError, match="--deterministic: put_ does not have"):
        run_of(tmp_path / "r", epochs=1, deterministic=True)
    assert not torch.are_deterministic_algorithms_enabled()


def test_settings_that_cannot_work_leave_no_folder(tmp_path):
    for settings, message in (
        ({"patience": 3, "split": (0.8, 0.0, 0.2)}, "need a validation split"),
        ({"drop_path": 0.1}, "no stochastic depth"),
        ({"batch_size": 1}, "batch norm needs two"),
    ):
        with pytest.raises(StriateError, match=message):
            run_of(tmp_path / "r", **settings)
        assert not (tmp_path / "r").exists()


def test_switches_in_the_command_that_repeats_a_run():
    r = recipe({"data": "digits", "model": "lenet5", "whiten": True, "health": False, "clip": 1})
    assert repeat_command(r) == "striate train digits --model lenet5 --whiten --clip 1.0 --no-health"
