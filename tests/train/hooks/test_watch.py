"""When patience ends, step by step; Keras' EarlyStopping and ReduceLROnPlateau are the second opinion."""

import json

import keras
import pytest
import torch
from torch import nn

from striate.data import Preprocess
from striate.train import checkpoint
from striate.train.checkpoint import Model
from striate.train.events import State
from striate.train.hooks.watch import Best, EarlyStopping, Keep, Plateau, score

LOSSES = [1.0, 0.8, 0.79, 0.805, 0.7, 0.7, 0.71, 0.7, 0.69, 0.9, 0.9, 0.9, 0.9]


def epochs(listener, losses=LOSSES):
    """Rate and stop of the state after each epoch."""
    state = State(epochs=len(losses), steps_per_epoch=1)
    seen = []
    for number, loss in enumerate(losses, 1):
        state.epoch, state.metrics = number, {"val_loss": loss, "val_accuracy": 0.5}
        listener.on_epoch(state)
        seen.append((round(state.rate, 9), bool(state.stop)))
        if state.stop:
            break
    return seen


@pytest.mark.parametrize("patience", [1, 2, 3])
@pytest.mark.parametrize("min_delta", [0.0, 0.05])
@pytest.mark.parametrize(("first", "baseline"), [(1, None), (4, None), (1, 0.75), (3, 0.5)])
def test_early_stopping_ends_in_the_epoch_in_which_keras_does(patience, min_delta, first, baseline):
    class Net:
        stop_training = False

        def get_weights(self):
            return []

    theirs = keras.callbacks.EarlyStopping(
        patience=patience, min_delta=min_delta, mode="min", start_from_epoch=first - 1, baseline=baseline
    )
    theirs.set_model(Net())
    theirs.on_train_begin()
    for epoch, loss in enumerate(LOSSES):
        theirs.on_epoch_end(epoch, {"val_loss": loss})
        if theirs.model.stop_training:
            break
    assert len(epochs(EarlyStopping(patience, "loss", min_delta, first, baseline))) == epoch + 1


def test_a_plateau_divides_the_rate_and_waits_anew():
    rates = [rate for rate, _ in epochs(Plateau(2, "loss", 0.05))]
    #  1.0 .8  .79 .805 -> 0.1;  .7 better; .7 .71 -> 0.01; .7 .69 -> 0.001; .9 .9 -> ...
    assert rates == [1, 1, 1, 0.1, 0.1, 0.1, 0.01, 0.01, 0.001, 0.001, 0.0001, 0.0001, 0.00001]


@pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")  # within Keras
@pytest.mark.parametrize("patience", [1, 2])
@pytest.mark.parametrize("cooldown", [0, 1, 3])
@pytest.mark.parametrize(("factor", "least"), [(0.5, 0.0), (0.1, 0.03)])
def test_a_plateau_lowers_the_rate_as_keras_does(patience, cooldown, factor, least):
    """Keras begins to count in the last epoch of its cooldown: its n + 1 epochs are n here."""
    net = keras.Sequential([keras.layers.Input((1,)), keras.layers.Dense(1)])
    net.compile(keras.optimizers.SGD(1.0))
    theirs = keras.callbacks.ReduceLROnPlateau(
        patience=patience, factor=factor, cooldown=cooldown + (cooldown > 0), min_lr=least, min_delta=0.05
    )
    theirs.set_model(net)
    theirs.on_train_begin()
    expected = []
    for epoch, loss in enumerate(LOSSES):
        theirs.on_epoch_end(epoch, {"val_loss": loss})
        expected.append(float(net.optimizer.learning_rate.numpy()))
    rates = [rate for rate, _ in epochs(Plateau(patience, "loss", 0.05, factor, cooldown, least))]
    assert rates == pytest.approx(expected)


def test_patience_survives_an_interruption():
    first, second = EarlyStopping(3, "loss"), EarlyStopping(3, "loss")
    epochs(first, [0.5, 0.6, 0.6])
    second.load_state_dict(first.state_dict())
    assert epochs(second, [0.6]) == [(1.0, True)]


def test_the_score_prefers_average_precision_where_labels_are_several():
    metrics = {"val_loss": 0.3, "val_accuracy": 0.5, "val_map": 0.7}
    assert score(metrics, "accuracy") == 0.7
    assert score(metrics, "loss") == -0.3
    assert score({"val_accuracy": 0.5}, "accuracy") == 0.5


def test_the_best_epochs_are_kept_and_no_others(tmp_path):
    net = nn.Linear(4, 2)
    model = Model(net, {}, (1, 2, 2), 2, ("a", "b"), Preprocess((2, 2), channels=1))
    folder = tmp_path / "epochs"

    def keep():
        return Keep(2, model, folder, "accuracy", lambda: net)

    def files():
        return sorted(int(f.stem.removeprefix("epoch-")) for f in folder.glob("*"))

    first, kept = keep(), []
    first.on_start(State(9, 1))
    for epoch, accuracy in enumerate([0.3, 0.5, 0.4, float("nan"), 0.6], 1):
        nn.init.constant_(net.weight, epoch)
        first.on_epoch(State(9, 1, epoch=epoch, metrics={"val_accuracy": accuracy, "val_loss": 1.0}))
        kept.append(files())
    assert kept == [[1], [1, 2], [2, 3], [2, 3], [2, 5]]
    assert checkpoint.weights(folder / "epoch-005.safetensors")["weight"].unique().tolist() == [5.0]
    (
        folder / "epoch-007.safetensors"
    ).touch()  # of an epoch that the run hadn't come to the end of when it was killed
    again = keep()
    again.load_state_dict(json.loads(json.dumps(first.state_dict())))
    again.on_start(State(9, 1, epoch=6))
    assert files() == [2, 5, 7]
    again.on_epoch(State(9, 1, epoch=6, metrics={"val_accuracy": 0.1, "val_loss": 1.0}))
    assert files() == [2, 5]


@pytest.mark.parametrize(("measured", "kept"), [(True, 0.5), (False, 1.0)])
def test_best_knows_its_file_where_that_is_ahead_of_the_state(tmp_path, measured, kept):
    """Half of epoch 3, then all of it, a little worse: the half stays, unless nothing was measured."""
    net, file = nn.Linear(4, 2), tmp_path / "m.safetensors"
    model = Model(net, {}, (1, 2, 2), 2, ("a", "b"), Preprocess((2, 2), channels=1))
    for part, loss in ((0.5, 0.1), (1.0, 0.2)):
        best = Best(model, file, "loss", lambda: net)
        best.on_start(State(9, 2, epoch=3))
        nn.init.constant_(net.weight, part)
        best.on_epoch(State(9, 2, epoch=3, metrics={"val_loss": loss} if measured else {}))
    assert checkpoint.weights(file)["weight"].unique().tolist() == [kept]
    assert (
        best.metrics
        == checkpoint.stored_metrics(file)
        == {"epoch": 3} | ({"val_loss": 0.1} if measured else {})
    )


@pytest.mark.parametrize(
    ("monitor", "kept"), [("accuracy", [1, 2, 4]), ("loss", [1, 2, 3])]
)  # of equal accuracy, the lower loss
def test_best_writes_only_what_is_better(tmp_path, monitor, kept):
    net = nn.Linear(4, 2)
    model = Model(net, {}, (1, 2, 2), 2, ("a", "b"), Preprocess((2, 2), channels=1))
    best = Best(model, tmp_path / "m.safetensors", monitor, lambda: net)
    metrics = [(0.5, 0.9), (0.6, 0.8), (0.5, 0.1), (0.6, 0.7), (0.6, 0.7), (float("nan"), float("nan"))]
    for epoch, (accuracy, loss) in enumerate(metrics, 1):
        nn.init.constant_(net.weight, epoch)
        state = State(10, 1, epoch=epoch, metrics={"val_accuracy": accuracy, "val_loss": loss})
        best.on_epoch(state)
        stored = checkpoint.weights(tmp_path / "m.safetensors")["weight"]
        assert torch.equal(stored, torch.full((2, 4), float(max(k for k in kept if k <= epoch))))
    assert best.metrics["epoch"] == kept[-1]
    again = Best(model, tmp_path / "m.safetensors", monitor, lambda: net)
    again.on_start(State(10, 1, epoch=4))
    again.on_epoch(State(10, 1, epoch=9, metrics={"val_accuracy": 0.6, "val_loss": 0.75}))
    assert again.metrics["epoch"] == kept[-1]


def test_a_run_that_goes_on_by_another_figure_begins_a_new_best(tmp_path):
    net = nn.Linear(4, 2)
    model = Model(net, {}, (1, 2, 2), 2, ("a", "b"), Preprocess((2, 2), channels=1))
    for monitor, metrics in (("accuracy", {}), ("macro-f1", {"val_macro_f1": 0.3})):
        best = Best(model, tmp_path / "m.safetensors", monitor, lambda: net)
        best.on_start(State(9, 1))
        best.on_epoch(State(9, 1, metrics={"val_accuracy": 0.9, "val_loss": 0.1, **metrics}))
    assert checkpoint.stored_metrics(tmp_path / "m.safetensors")["val_macro_f1"] == 0.3
