"""TensorBoard's own reader finds the metrics; both say in one line what to install."""

import importlib.util
import sys

import pytest

from striate.errors import UsageError
from striate.train.events import State
from striate.train.hooks.track import TensorBoard, WandB


@pytest.mark.slow  # its import of TensorFlow takes seconds
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.skipif(not importlib.util.find_spec("tensorboard"), reason="the extra `track` is not installed")
def test_tensorboard_reads_what_was_written(tmp_path):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    hook, state = TensorBoard(tmp_path), State(2, 1)
    hook.on_start(state)
    for state.epoch in (1, 2):
        state.metrics = {"train_loss": 1 / state.epoch, "val_accuracy": 0.25 * state.epoch, "lr": 0.5}
        hook.on_epoch(state)
    hook.on_end(state)
    found = EventAccumulator(str(tmp_path / "tensorboard")).Reload()
    assert sorted(found.Tags()["scalars"]) == ["accuracy/val", "loss/train", "lr"]
    assert [(e.step, e.value) for e in found.Scalars("accuracy/val")] == [(1, 0.25), (2, 0.5)]


@pytest.mark.parametrize("make", [lambda folder: TensorBoard(folder), lambda folder: WandB(folder, {})])
def test_what_is_missing_is_named(make, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", None)
    monkeypatch.setitem(sys.modules, "wandb", None)
    with pytest.raises(UsageError, match="is not installed") as caught:
        make(tmp_path)
    assert "striate[track]" in caught.value.hint
