"""Files and settings made to harm: each is refused in one line, nothing is lost, and the next run works."""

import json
import struct

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save, save_file

from striate.errors import DataError, StriateError, UsageError
from striate.train import checkpoint, recipe, resume, train

NET = "INPUT(8,8,1) => CONV(4,3) => BN => RELU => POOL(2) => FC"
ONE = {"data": "digits", "model": NET, "epochs": 1, "batch_size": 256}


def header(facts, body=b""):
    text = json.dumps(facts).encode() if not isinstance(facts, bytes) else facts
    return struct.pack("<Q", len(text)) + text + body


HARMFUL = {
    "nothing": b"",
    "endless header": struct.pack("<Q", 2**64 - 1),
    "header without body": struct.pack("<Q", 60),
    "no UTF-8": header(b"\xff\xfe"),
    "bare brace": header(b"{"),
    "offsets too short": header({"a": {"dtype": "I32", "shape": [2, 2], "data_offsets": [0, 4]}}, b"\0" * 4),
    "overflow": header({"a": {"dtype": "I32", "shape": [2, 2**64 - 2], "data_offsets": [0, 4]}}, b"\0" * 4),
    "overlap": header(
        {k: {"dtype": "I32", "shape": [1], "data_offsets": [0, 4]} for k in "abcdefghij"}, b"\0" * 4
    ),
    "pickle": b"\x80\x04cos\nsystem\n(S'touch canary'\ntR.",
    "zip": b"PK\x03\x04" + b"\0" * 30,
}


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    return train(recipe(ONE), tmp_path_factory.mktemp("faults") / "r", report=False)


@pytest.mark.parametrize("kind", HARMFUL)
def test_no_model_file(kind, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "m.safetensors").write_bytes(HARMFUL[kind])
    with pytest.raises(DataError, match="damaged or no model file") as caught:
        checkpoint.load(tmp_path / "m.safetensors")
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "canary").exists()


def test_newer_formats_are_named(run, tmp_path):
    data = save({"w": torch.zeros(2)}, {"format": "striate-state 9", "facts": "{}"})
    (tmp_path / "last").mkdir()
    from zlib import crc32

    (tmp_path / "last" / f"000001-{crc32(data):08x}.safetensors").write_bytes(data)
    with pytest.raises(DataError, match="'striate-state 9'; this version reads 'striate-state 1'"):
        checkpoint.load_state(tmp_path / "last")
    weights = load_file(run.folder / "model.safetensors")
    save_file(weights, tmp_path / "m.safetensors", {"format": "striate 9"})
    with pytest.raises(DataError, match="'striate 9'; this version reads 'striate 1'"):
        checkpoint.load(tmp_path / "m.safetensors")


@pytest.mark.parametrize("prefix", ["module.", "_orig_mod."])
def test_names_of_wrapped_networks_are_understood(run, prefix):
    module = run.model().module
    wrapped = {prefix + k: v + 1 for k, v in module.state_dict().items()}
    checkpoint.load_weights(module, wrapped, "here")
    assert all(torch.equal(v, wrapped[prefix + k]) for k, v in module.state_dict().items())


def test_all_states_damaged_ends_the_run_and_starts_nothing_anew(tmp_path):
    run = train(recipe({**ONE, "save_every": 1}), tmp_path / "r", report=False)
    for path in checkpoint.states(run.folder / "last"):
        path.write_bytes(b"\0" * 100)
    for _ in range(2):
        with pytest.raises(DataError, match="is damaged"):
            resume(run.folder, epochs=2)
        checkpoint.states(run.folder / "last")[-1].unlink()
    with pytest.raises(UsageError, match="nothing to resume"):
        resume(run.folder, epochs=2)
    assert len(run.history) == 1


@pytest.mark.parametrize("share", [0.0, 0.25, 0.9])
def test_a_full_disk_leaves_the_state_before(tmp_path, monkeypatch, share):
    from pathlib import Path

    checkpoint.save_state(tmp_path / "last", {"w": torch.zeros(1000)}, {"i": 1})
    whole = Path.write_bytes

    def full(path, data):
        whole(path, data[: int(share * len(data))])
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", full)
    with pytest.raises(StriateError, match="No space left on device"):
        checkpoint.save_state(tmp_path / "last", {"w": torch.ones(1000)}, {"i": 2})
    monkeypatch.undo()
    tensors, facts = checkpoint.load_state(tmp_path / "last")
    assert (facts["i"], tensors["w"].sum().item()) == (1, 0.0)
    assert len(list((tmp_path / "last").iterdir())) == 1


def test_what_cannot_be_stored_leaves_no_file(tmp_path):
    with pytest.raises(TypeError):
        checkpoint.save_state(tmp_path / "last", {"w": torch.zeros(2)}, {"i": object()})
    assert list((tmp_path / "last").iterdir()) == []


def test_a_run_goes_on_in_another_precision_when_allowed(tmp_path):
    run = train(recipe({**ONE, "precision": "bf16"}), tmp_path / "r", report=False)
    with pytest.raises(UsageError, match="--precision bf16 -> fp32"):
        resume(run.folder, epochs=2, precision="fp32")
    longer = resume(run.folder, epochs=2, precision="fp32", allow_changes=True, report=False)
    assert len(longer.history) == 2


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"lr": 0}, "lr: expected greater than 0"),
        ({"lr": float("inf")}, "lr: expected"),
        ({"weight_decay": float("inf")}, "weight_decay: expected a finite number"),
        ({"epochs": 0}, "epochs: expected greater than or equal to 1"),
        ({"smoothing": 1}, "smoothing: expected less than 1"),
        ({"warmup": 1}, "warmup: expected less than 1"),
        ({"clip": 0}, "clip: expected greater than 0"),
        ({"ema_decay": 1}, "ema_decay: expected less than 1"),
        ({"drop_path": 1}, "drop_path: expected less than 1"),
        ({"stop_after": "soon"}, "stop_after: expected a valid number"),
        ({"sched": "3:0.1,3:0.2"}, "sched: expected an epoch is named twice"),
        ({"lookahead": 1}, "lookahead: expected 0 or at least 2"),
        ({"opt": "nesterov", "momentum": 0}, "momentum: nesterov needs more than 0"),
        ({"opt": "gd", "accumulate": 2}, "accumulate: gd gathers"),
    ],
)
def test_settings_out_of_range(settings, said):
    with pytest.raises(UsageError) as caught:
        recipe({**ONE, **settings})
    assert said in str(caught.value)


@pytest.mark.parametrize(("n", "size", "works"), [(1, 4, False), (5, 4, True), (3, 64, True), (8, 1, False)])
def test_batches_that_batch_norm_cannot_take(tmp_path, n, size, works):
    """One image in all, or one a batch, is refused; one that is left over waits for another epoch."""
    x = np.random.default_rng(0).integers(0, 256, (n + 8, 8, 8), dtype=np.uint8)
    y = np.arange(n + 8) % 2
    if n == 1:
        y[0] = 0
    np.savez(tmp_path / "d.npz", x_train=x[:n], y_train=y[:n], x_test=x[n:], y_test=y[n:])
    settings = {**ONE, "data": str(tmp_path / "d.npz"), "batch_size": size, "allow_empty": True}
    if works:
        assert train(recipe(settings), tmp_path / "r", report=False).summary["epochs"] == 1
    else:
        with pytest.raises(StriateError):
            train(recipe(settings), tmp_path / "r", report=False)
        assert not (tmp_path / "r").exists()
