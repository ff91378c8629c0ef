"""What the loop computes, against the same thing written out by hand."""

import os
import signal

import numpy as np
import pytest
import safetensors.torch
import torch
import torch.nn.functional as F
from torch import nn

from striate.data import load, order
from striate.errors import StriateError, UsageError
from striate.train.engine import Engine
from striate.train.events import Listener
from striate.train.loop import Loop
from striate.train.recipe import Recipe
from striate.train.signals import Interrupted


def small_data(n=96, classes=3):
    rng = np.random.default_rng(0)
    x = rng.integers(0, 256, (n, 8, 8), dtype=np.uint8)
    return load((x, rng.integers(0, classes, n)), split=(0.75, 0.25, 0.0))


def small_net():
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.MaxPool2d(2),
        nn.Flatten(), nn.Dropout(0.3), nn.Linear(36, 3),
    )  # fmt: skip


def loop_of(net, data, listeners=(), **settings):
    recipe = Recipe(**{"data": "arrays", "model": "net", "epochs": 2, "batch_size": 16, **settings})
    engine = Engine(net, data.preprocess.mean, data.preprocess.std, "cpu", "fp32")
    return Loop(recipe, data, engine, listeners)


def nothing(loop):
    pass


def test_sgd_for_an_epoch_is_sgd_written_out():
    data = small_data()
    mine = nn.Sequential(nn.Flatten(), nn.Linear(64, 3))
    theirs = nn.Sequential(nn.Flatten(), nn.Linear(64, 3))
    theirs.load_state_dict(mine.state_dict())
    loop = loop_of(
        mine, data, epochs=1, opt="sgd", lr=0.1, sched="constant", weight_decay=0.0, augment="none"
    )
    loop.fit(nothing)

    losses = []
    rows = order(len(data.train), seed=0, epoch=1)
    for i in range(0, len(rows), 16):
        x = data.preprocess.normalise(data.train.read(rows[i : i + 16]))
        y = torch.from_numpy(data.train.labels[rows[i : i + 16]])
        loss = F.cross_entropy(theirs(x), y)
        gradients = torch.autograd.grad(loss, list(theirs.parameters()))
        losses += [loss.item()] * len(y)
        with torch.no_grad():
            for p, g in zip(theirs.parameters(), gradients, strict=True):
                p -= 0.1 * g
    for a, b in zip(mine.parameters(), theirs.parameters(), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-5, atol=1e-6)
    assert loop.state.metrics["train_loss"] == pytest.approx(np.mean(losses), rel=1e-5)


def test_gradient_descent_takes_one_step_along_the_gradient_of_the_whole_set():
    data = small_data()
    mine = nn.Sequential(nn.Flatten(), nn.Linear(64, 3))
    x = data.preprocess.normalise(data.train.read(range(len(data.train))))
    loss = F.cross_entropy(mine(x), torch.from_numpy(data.train.labels))
    expected = [
        p - 0.5 * g
        for p, g in zip(mine.parameters(), torch.autograd.grad(loss, list(mine.parameters())), strict=True)
    ]
    loop_of(mine, data, epochs=1, opt="gd", lr=0.5, sched="constant", weight_decay=0.0, augment="none").fit(
        nothing
    )
    for a, b in zip(mine.parameters(), expected, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-5, atol=1e-6)


def test_validation_is_the_plain_mean_over_the_split_in_evaluation_mode():
    data, net = small_data(), small_net()
    loop = loop_of(net, data)
    loss, accuracy = loop.validate(data.val).values()
    x = data.preprocess.normalise(data.val.read(range(len(data.val))))
    y = torch.from_numpy(data.val.labels)
    logits = net.eval()(x)
    assert loss == pytest.approx(F.cross_entropy(logits, y).item(), rel=1e-5)
    assert accuracy == pytest.approx((logits.argmax(1) == y).float().mean().item())


def test_class_weights_are_not_for_mixed_pictures():
    with pytest.raises(UsageError, match="--class-weights weigh pictures of one class"):
        loop_of(small_net(), small_data(), class_weights=True, augment="mixup")


def test_binary_cross_entropy_trains_one_logit():
    data = small_data(classes=2)
    net = nn.Sequential(nn.Flatten(), nn.Linear(64, 1))
    loop = loop_of(net, data, loss="binary-cross-entropy", epochs=100, opt="adam", lr=0.01, augment="none")
    loss = loop.validate(data.train)["loss"]
    x = data.preprocess.normalise(data.train.read(range(len(data.train))))
    p = torch.sigmoid(net(x)[:, 0])
    y = torch.from_numpy(data.train.labels)
    assert loss == pytest.approx(-torch.where(y == 1, p, 1 - p).log().mean().item(), rel=1e-5)
    loop.fit(nothing)
    assert loop.validate(data.train)["accuracy"] > 0.9


class Events(Listener):
    def __init__(self):
        self.seen = []

    def on_start(self, state):
        self.seen.append("start")

    def on_step(self, state):
        self.seen.append(f"step {state.epoch}.{state.step}")

    def on_epoch(self, state):
        self.seen.append(f"epoch {state.epoch}")

    def on_end(self, state):
        self.seen.append("end")


def test_order_of_events():
    events = Events()
    loop_of(small_net(), small_data(n=40), [events]).fit(nothing)
    epochs = [[f"step {e}.1", f"step {e}.2", f"epoch {e}"] for e in (1, 2)]  # 30 training images, 16 a step
    assert events.seen == ["start", *epochs[0], *epochs[1], "end"]


class StopAt(Listener):
    """Sends this process a signal after so many steps."""

    def __init__(self, steps, number=signal.SIGTERM):
        self.steps, self.number = steps, number

    def on_step(self, state):
        self.steps -= 1
        if self.steps == 0:
            os.kill(os.getpid(), self.number)


@pytest.mark.parametrize("steps", range(1, 10))
def test_stopped_at_any_step_and_resumed_is_the_uninterrupted_run_to_the_bit(steps):
    """Shuffling, augmentation, dropout, batch norm and the schedule are on: 5 steps an epoch, 2 epochs."""
    data = small_data()
    whole = loop_of(small_net(), data, augment="shift-flip")
    whole.fit(nothing)

    saved = []
    broken = loop_of(small_net(), data, [StopAt(steps)], augment="shift-flip")
    with pytest.raises(Interrupted) as caught:
        broken.fit(lambda loop: saved.append(loop.state_dict()))
    assert caught.value.exit_code == 143

    torch.manual_seed(999)
    going_on = loop_of(small_net(), data, augment="shift-flip")
    going_on.load_state_dict(*saved[-1])
    going_on.fit(nothing)
    a, b = whole.state_dict(), going_on.state_dict()
    assert a[0].keys() == b[0].keys()
    assert all(torch.equal(a[0][k], b[0][k]) for k in a[0])
    timing = ("images_per_second", "seconds")
    metrics = [{k: v for k, v in run.state.metrics.items() if k not in timing} for run in (whole, going_on)]
    assert metrics[0] == metrics[1]


@pytest.mark.parametrize(
    ("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGHUP, 129)]
)
def test_a_signal_saves_ends_with_its_code_and_gives_the_handler_back(number, code):
    before, saved = signal.getsignal(number), []
    with pytest.raises(Interrupted) as caught:
        loop_of(small_net(), small_data(), [StopAt(2, number)]).fit(
            lambda loop: saved.append(loop.state.step)
        )
    assert caught.value.exit_code == code
    assert saved[-1] == 2
    assert signal.getsignal(number) is before


def test_a_hangup_that_nohup_has_silenced_stays_silent(monkeypatch):
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        loop = loop_of(small_net(), small_data(), [StopAt(2, signal.SIGHUP)])
        loop.fit(nothing)
    finally:
        signal.signal(signal.SIGHUP, before)
    assert loop.state.epoch > loop.state.epochs


def test_a_loss_that_is_no_number_stops_the_run_and_all_hear_of_the_end():
    class Spoils(Events):
        def on_start(self, state):
            super().on_start(state)
            next(loop.engine.module.parameters()).data.fill_(float("nan"))

    saved, events = [], Spoils()
    loop = loop_of(small_net(), small_data(), [events])
    with pytest.raises(StriateError, match="loss became nan in epoch 1, batch 1 of 5"):
        loop.fit(lambda loop: saved.append(loop.state.step))
    assert saved == [0]  # before the first step, when all was well
    assert events.seen == ["start", "end"]


class Counts(Listener):
    def __init__(self, first):
        self.count = first

    def on_epoch(self, state):
        self.count += 1

    def state_dict(self):
        return {"count": self.count}

    def load_state_dict(self, facts):
        self.count = facts["count"]


def test_two_listeners_of_a_kind_keep_what_is_theirs():
    loop = loop_of(small_net(), small_data(), [Counts(0), Counts(100)])
    loop.fit(nothing)
    again = loop_of(small_net(), small_data(), [Counts(0), Counts(0)])
    again.load_state_dict(*loop.state_dict())
    assert [listener.count for listener in again.listeners] == [2, 102]


def test_the_state_of_a_network_in_channels_last_order_can_be_stored():
    loop = loop_of(small_net().to(memory_format=torch.channels_last), small_data())
    loop.fit(nothing)
    stored = safetensors.torch.load(safetensors.torch.save(loop.state_dict()[0]))
    kernel = loop.engine.module[0].weight
    torch.testing.assert_close(stored["module.0.weight"], kernel.detach(), rtol=0, atol=0)


class TwoHeads(nn.Module):
    def __init__(self):
        super().__init__()
        self.body, self.head, self.side = nn.Flatten(), nn.Linear(64, 3), nn.Linear(64, 3)

    def forward(self, x):
        return self.head(self.body(x))

    def forward_with_auxiliary(self, x):
        return self.forward(x), [self.side(self.body(x))]


def test_an_auxiliary_head_learns_with_its_weight_and_is_silent_otherwise():
    data = small_data()
    one_step = {
        "epochs": 1,
        "batch_size": 72,
        "opt": "sgd",
        "lr": 1.0,
        "sched": "constant",
        "weight_decay": 0.0,
    }
    moved = {}
    for weight in (0.3, 0.6, 0.0):
        torch.manual_seed(0)
        net = TwoHeads()
        before = net.side.weight.detach().clone()
        loop_of(net, data, **one_step, augment="none", aux_weight=weight).fit(nothing)
        moved[weight] = net.side.weight.detach() - before
    assert torch.count_nonzero(moved[0.0]) == 0
    torch.testing.assert_close(moved[0.6], 2 * moved[0.3], rtol=1e-4, atol=1e-7)


class Sizes(nn.Module):
    """Notes the size of what it is shown, in training and apart from it."""

    def __init__(self):
        super().__init__()
        self.fc = nn.Linear(1, 3)
        self.seen = {True: [], False: []}

    def forward(self, x):
        self.seen[self.training].append(tuple(x.shape[2:]))
        return self.fc(x.mean((1, 2, 3))[:, None])


def test_training_images_grow_and_validation_images_have_their_full_size():
    net = Sizes()
    loop = loop_of(net, small_data(64), epochs=4, batch_size=24, grow=0.5)  # 48 images: 2 steps an epoch
    loop.fit(nothing)
    seen = loop.engine.twin.seen
    # half of the size and more by a sixth of it a step: 4, 4.67, 5.33, 6, 6.67, 7.33, 8, 8 pixels, whole ones only
    assert seen[True] == [(side, side) for side in (4, 4, 5, 6, 6, 7, 8, 8)]
    assert set(seen[False]) == {(8, 8)}
