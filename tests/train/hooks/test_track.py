"""TensorBoard's own reader finds the metrics; both say in one line what to install."""

import importlib.util
import json
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


def records(log):
    """The records of a W&B file: after 7 bytes LevelDB's log format, blocks of 32 KiB of (crc, length, type, data)."""
    at, parts = 7, []
    while at + 7 <= len(log):
        if (room := 2**15 - at % 2**15) < 7:
            at += room
            continue
        end = at + 7 + int.from_bytes(log[at + 4 : at + 6], "little")
        parts.append(log[at + 7 : end])
        if log[at + 6] in (1, 4):  # whole, or the last part
            yield b"".join(parts)
            parts = []
        at = end


@pytest.mark.skipif(not importlib.util.find_spec("wandb"), reason="the extra `track` is not installed")
def test_wandb_writes_offline_and_goes_on_with_its_run(tmp_path, monkeypatch):
    from wandb.proto.wandb_internal_pb2 import Record

    monkeypatch.setenv("WANDB_SILENT", "true")
    first, second = WandB(tmp_path, {"lr": 0.1}), WandB(tmp_path, {"lr": 0.1})
    second.load_state_dict(first.state_dict())
    for epoch, hook in enumerate((first, second), 1):
        state = State(2, 1, epoch=epoch, metrics={"train_loss": 1 / epoch})
        hook.on_start(state)
        hook.on_epoch(state)
        hook.on_end(state)
    told, runs = {}, set()
    for path in sorted(tmp_path.glob("wandb/offline-run-*/*.wandb")):
        for data in records(path.read_bytes()):
            record = Record.FromString(data)
            if record.WhichOneof("record_type") == "run":
                runs.add(record.run.run_id)
            if record.WhichOneof("record_type") == "history":
                row = {
                    (i.key or "/".join(i.nested_key)): json.loads(i.value_json) for i in record.history.item
                }
                told[row["_step"]] = row["loss/train"]
    assert told == {1: 1.0, 2: 0.5}
    assert runs == {first.id}
