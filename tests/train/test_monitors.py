"""What a run goes by: the figure of each epoch is scikit-learn's on the validation split, and decides what is kept."""

import numpy as np
import pytest
from sklearn.metrics import balanced_accuracy_score, f1_score, top_k_accuracy_score

from striate.data import load
from striate.errors import UsageError
from striate.train import recipe, train
from striate.train.events import State
from striate.train.hooks.watch import EarlyStopping, score
from striate.train.session import rehearse

NET = "INPUT(8,8,1) => CONV(4,3) => RELU => POOL(2) => FC"
THEIRS = {
    "balanced-accuracy": lambda y, p: balanced_accuracy_score(y, p.argmax(1)),
    "macro-f1": lambda y, p: f1_score(y, p.argmax(1), average="macro"),
    "top-3": lambda y, p: top_k_accuracy_score(y, p, k=3),
}


def rare(folder):
    """Digits, of which the even ones are few."""
    data = load("digits", split=(1.0, 0.0, 0.0)).train
    rows = [i for i, y in enumerate(data.labels) if y % 2 or i % 5 == 0]
    np.savez(folder / "rare.npz", x=data.read(rows)[:, 0].numpy(), y=data.labels[rows])
    return str(folder / "rare.npz")


@pytest.mark.parametrize("monitor", THEIRS)
def test_the_best_epoch_is_the_one_of_the_highest_figure(tmp_path, monitor):
    fixed = {"health": False, "precision": "fp32"}  # bfloat16 makes ties, which scikit-learn breaks otherwise
    settings = {"data": rare(tmp_path), "model": NET, "epochs": 4, "lr": 0.02, "monitor": monitor, **fixed}
    run = train(recipe(settings), tmp_path / "r", report=False)
    name = monitor.replace("-", "_")
    figures = [row[f"val_{name}"] for row in run.history]
    kept = run.evaluate(split="val")
    assert max(figures) == figures[run.summary["best_epoch"] - 1]
    assert max(figures) == run.summary[f"val_{name}"]
    assert max(figures) == pytest.approx(THEIRS[monitor](kept.labels, kept.probabilities), abs=1e-6)
    tested = run.evaluate()
    theirs = THEIRS[monitor](tested.labels, tested.probabilities)
    assert run.summary[f"test_{name}"] == pytest.approx(theirs, abs=1e-6)


def test_patience_goes_by_it_too():
    state = State(epochs=9, steps_per_epoch=1)
    stopping = EarlyStopping(2, "macro-f1")
    for state.epoch, figure in enumerate([0.5, 0.6, 0.6, 0.55], 1):
        state.metrics = {"val_macro_f1": figure, "val_accuracy": state.epoch / 9, "val_loss": 1 / state.epoch}
        assert score(state.metrics, "macro-f1") == figure
        stopping.on_epoch(state)
        assert bool(state.stop) == (state.epoch == 4)


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({"monitor": "top-10"}, "top-10: of 10 classes, it is always 1"),
        ({"monitor": "macro-f1", "split": (0.8, 0.0, 0.2)}, "macro-f1 needs a validation split"),
        (
            {"monitor": "top-0"},
            "monitor: expected accuracy, loss, balanced-accuracy, macro-f1 or top-K, got 'top-0'",
        ),
    ],
)
def test_what_cannot_be_measured_is_refused_before_the_run(settings, says):
    with pytest.raises(UsageError, match=says):
        rehearse(recipe({"data": "digits", "model": NET, **settings}))


def test_several_labels_have_a_macro_f1_and_no_balanced_accuracy(tmp_path):
    data = load("digits", split=(1.0, 0.0, 0.0)).train
    y = np.stack([data.labels % 2, data.labels > 4], axis=1)[:400]
    np.savez(tmp_path / "d.npz", x=data.read(range(400))[:, 0].numpy(), y=y)
    settings = {"data": str(tmp_path / "d.npz"), "model": NET, "epochs": 2, "lr": 0.02, "health": False}
    with pytest.raises(UsageError, match="balanced-accuracy is of one class an image"):
        rehearse(recipe({**settings, "monitor": "balanced-accuracy"}))
    run = train(recipe({**settings, "monitor": "macro-f1"}), tmp_path / "r", report=False)
    kept = run.evaluate(split="val")
    theirs = f1_score(kept.labels, kept.probabilities >= 0.5, average="macro", zero_division=0)
    assert max(row["val_macro_f1"] for row in run.history) == pytest.approx(theirs, abs=1e-6)
