"""Checkpoints of every harmless kind are read, and no byte of a file is run."""

import argparse
import io
import os
import pickle
import tarfile
import zipfile

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from striate.errors import DataError
from striate.transfer.torch_files import read_state

STATE = {"fc.weight": torch.arange(6.0).view(2, 3), "fc.bias": torch.ones(2)}


class Canary:
    """Unpickling it creates a file."""

    def __init__(self, path) -> None:
        self.path = str(path)

    def __reduce__(self):
        return os.system, (f"touch {self.path}",)


@pytest.mark.parametrize(
    "content",
    [
        STATE,
        {"state_dict": STATE, "epoch": 3},
        {"model": STATE},
        {"model_state_dict": STATE, "loss": 0.5},
        {f"module.{k}": v for k, v in STATE.items()},
        {f"_orig_mod.module.{k}": v for k, v in STATE.items()},
        {"state_dict": {f"module._orig_mod.{k}": v for k, v in STATE.items()}},
    ],
)
def test_checkpoints_as_people_save_them(content, tmp_path):
    torch.save(content, tmp_path / "a.pth")
    state, notes = read_state(tmp_path / "a.pth")
    assert notes == {}
    assert all(torch.equal(state[key], value) for key, value in STATE.items())
    assert state.keys() == STATE.keys()


def test_the_old_format_and_safetensors(tmp_path):
    torch.save(STATE, tmp_path / "old.pt", _use_new_zipfile_serialization=False)
    save_file(STATE, tmp_path / "a.safetensors", {"format": "pt"})
    assert torch.equal(read_state(tmp_path / "old.pt")[0]["fc.weight"], STATE["fc.weight"])
    state, notes = read_state(tmp_path / "a.safetensors")
    assert torch.equal(state["fc.bias"], STATE["fc.bias"])
    assert notes == {"format": "pt"}


@pytest.mark.parametrize("kind", ["zip", "old", "pickle", "tar"])
def test_code_in_a_pickle_never_runs(kind, tmp_path):
    path, canary = tmp_path / "evil.pt", tmp_path / "canary"
    evil = {**STATE, "evil": Canary(canary)}
    if kind == "tar":  # CVE-2025-32434
        with tarfile.open(path, "w") as archive:
            for name in ("sys_info", "pickle", "storages", "tensors"):
                data = pickle.dumps(Canary(canary))
                info = tarfile.TarInfo(name)
                info.size = len(data)
                archive.addfile(info, io.BytesIO(data))
    elif kind == "pickle":
        path.write_bytes(pickle.dumps(evil))
    else:
        torch.save(evil, path, _use_new_zipfile_serialization=kind == "zip")
    with pytest.raises(DataError) as caught:
        read_state(path)
    assert not canary.exists()
    if kind in ("zip", "old"):
        assert "the Python object posix.system" in str(caught.value)
        assert "no unsafe fallback" in caught.value.hint


def test_a_class_beside_the_weights_is_named_and_refused(tmp_path):
    torch.save({"state_dict": STATE, "args": argparse.Namespace(lr=1)}, tmp_path / "a.pth")
    with pytest.raises(DataError, match=r"the Python object argparse\.Namespace"):
        read_state(tmp_path / "a.pth")


@pytest.mark.filterwarnings("ignore:`torch.jit:DeprecationWarning")
def test_a_compiled_network_is_no_state_dict(tmp_path):
    torch.jit.save(torch.jit.trace(nn.Linear(3, 2), torch.zeros(1, 3)), tmp_path / "a.pt")
    with pytest.raises(DataError, match="TorchScript"):
        read_state(tmp_path / "a.pt")


@pytest.mark.parametrize("content", [{"a": [1, 2]}, [1, 2], {}, 3, {1: torch.ones(1)}])
def test_what_is_no_state_dict(content, tmp_path):
    torch.save(content, tmp_path / "a.pth")
    with pytest.raises(DataError, match="expected a state dict"):
        read_state(tmp_path / "a.pth")


def test_a_member_that_unpacks_to_much_more(tmp_path):
    torch.save({"w": torch.zeros(1 << 20)}, tmp_path / "a.pth")
    with zipfile.ZipFile(tmp_path / "a.pth") as old, zipfile.ZipFile(tmp_path / "b.pth", "w", 8) as new:
        for info in old.infolist():
            new.writestr(info.filename, old.read(info))
    with pytest.raises(DataError, match=r"unpacks from .* to 4,194,304 bytes: refused"):
        read_state(tmp_path / "b.pth")


def rewritten(old, new, change):
    """The archive again, with what `change` makes of each member."""
    with zipfile.ZipFile(old) as a, zipfile.ZipFile(new, "w") as b:
        for name in a.namelist():
            b.writestr(name, change(name, a.read(name)))
    return new


STATE_OF_64 = {"w": torch.arange(64.0).view(8, 8)}


@pytest.mark.parametrize(
    ("end", "change"),
    [
        ("data/0", lambda data: data[:16]),  # the storage is shorter than the pickle says
        ("data/0", lambda data: b""),
        (
            "data.pkl",
            lambda data: data.replace(b"K\x08K\x08\x86", b"K\xffK\xff\x86"),
        ),  # 255 x 255 of 64 numbers
        ("data.pkl", lambda data: b"\x80\x02]K\x00K\x01s."),  # SETITEM on a list
        (
            "data.pkl",
            lambda data: b"\x80\x02ctorch._utils\n_rebuild_tensor_v2\nK\x00K\x01s.",
        ),  # on a function
        ("data.pkl", lambda data: b"\x80\x02."),  # takes from an empty stack
        ("data.pkl", lambda data: b"\x80\x02h\x05."),  # takes what was never kept
    ],
)
def test_pickles_that_lie_about_what_they_hold(end, change, tmp_path):
    """CVE-2026-24747 and its like: refused in one line, whatever torch says of them."""
    torch.save(STATE_OF_64, tmp_path / "a.pth")
    path = rewritten(tmp_path / "a.pth", tmp_path / "b.pth", lambda n, d: change(d) if n.endswith(end) else d)
    with pytest.raises(DataError) as caught:
        read_state(path)
    assert "\n" not in str(caught.value)


@pytest.mark.filterwarnings("ignore:Sparse:UserWarning", "ignore:torch.quant:DeprecationWarning")
@pytest.mark.parametrize(
    "make",
    [
        lambda: torch.eye(3).to_sparse(),
        lambda: torch.zeros(3, device="meta"),
        lambda: torch.zeros(1).expand(1 << 40),  # four bytes that are shown as four terabytes
    ],
)
def test_tensors_whose_values_are_not_all_there(make, tmp_path):
    torch.save({"w": make()}, tmp_path / "a.pth")
    with pytest.raises(DataError, match="'w' is sparse, quantised or larger than what is stored: refused"):
        read_state(tmp_path / "a.pth")


@pytest.mark.parametrize("suffix", ["pth", "safetensors"])
@pytest.mark.parametrize(
    "content", [b"", b"PK\3\4", b"{", b"\xff" * 8, b"not weights at all", b"\x80\x02}q\x00"]
)
def test_damaged_files_say_so_in_one_line(content, suffix, tmp_path):
    path = tmp_path / f"a.{suffix}"
    path.write_bytes(content)
    with pytest.raises(DataError) as caught:
        read_state(path)
    assert "\n" not in str(caught.value)
    assert str(path) in str(caught.value)


@pytest.mark.parametrize("kind", ["zip", "old", "safetensors"])
def test_a_file_cut_or_bent_anywhere_is_told_in_one_line(kind, tmp_path):
    path = tmp_path / ("a.safetensors" if kind == "safetensors" else "a.pth")
    if kind == "safetensors":
        save_file(STATE_OF_64, path)
    else:
        torch.save(STATE_OF_64, path, _use_new_zipfile_serialization=kind == "zip")
    whole = path.read_bytes()
    cut = [whole[: i * len(whole) // 40] for i in range(40)]
    bent = [whole[:i] + bytes([whole[i] ^ 0x55]) + whole[i + 1 :] for i in range(0, min(len(whole), 400), 3)]
    told = [refusal(path, content) for content in cut + bent]
    assert all(told[:40])  # a bent byte may be one of the numbers
    assert not any("\n" in line for line in told)


def refusal(path, content):
    """The line that refuses this content; nothing where it can be read."""
    path.write_bytes(content)
    try:
        read_state(path)
    except DataError as error:
        return str(error)
    return ""
