"""A model file carries all it takes to use the network, and a damaged one is refused in one line."""

import json
import struct
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from torch import nn

from striate import plan
from striate.data import Preprocess
from striate.errors import DataError, StriateError, UsageError
from striate.train import checkpoint
from striate.train.checkpoint import Model

TEXT = "INPUT(8,8,1) => CONV(4,3) => BN => RELU => POOL(2) => FC(3)"


@pytest.fixture
def model():
    net = plan.plan(TEXT).build((1, 8, 8), 3)
    net.module(torch.rand(5, 1, 8, 8))  # moves the batch norm statistics off their start
    preprocess = Preprocess(size=(8, 8), channels=1, mean=(0.4,), std=(0.2,))
    return Model(
        net.module.eval(), net.origin, (1, 8, 8), 3, ("a", "b", "ç\udcff"), preprocess, {"val_accuracy": 0.5}
    )


def restate(path, **facts):
    """Let a model file say something else of its network."""
    with safe_open(path, "pt") as f:
        metadata = f.metadata()
    said = json.dumps(json.loads(metadata["model"]) | facts)
    save_file(load_file(path), path, metadata | {"model": said})


def test_what_is_saved_comes_back(model, tmp_path):
    back = checkpoint.load(model.save(tmp_path / "m.safetensors"))
    assert (back.classes, back.preprocess, back.metrics) == (model.classes, model.preprocess, model.metrics)
    pixels = torch.randint(0, 256, (6, 1, 8, 8), dtype=torch.uint8)
    assert torch.equal(back.probabilities(pixels), model.probabilities(pixels))
    assert [p.name for p in tmp_path.iterdir()] == ["m.safetensors"]


def test_weights_that_are_no_numbers_are_counted_and_refused(model, tmp_path):
    with torch.no_grad():
        model.module.get_parameter("conv1.weight")[0, 0] = torch.nan
        model.module.get_parameter("fc1.bias")[2] = -torch.inf
    path = model.save(tmp_path / "m.safetensors")
    total = 4 * 9 + 4 * 4 + 1 + 64 * 3 + 3  # kernels; four vectors and a count of batch norm; dense layer
    with pytest.raises(
        DataError, match=rf"10 of {total} values are NaN or infinite, the first under 'conv1.weight'"
    ):
        checkpoint.load(path)


def test_probabilities_are_the_softmax_of_the_standardised_pixels(model):
    pixels = torch.randint(0, 256, (6, 1, 8, 8), dtype=torch.uint8)
    by_hand = model.module((pixels / 255 - 0.4) / 0.2).softmax(1)
    torch.testing.assert_close(model.probabilities(pixels, "cpu", "fp32"), by_hand, rtol=1e-4, atol=1e-5)


def test_one_logit_is_the_log_odds_of_the_second_class():
    p = checkpoint.to_probabilities(torch.tensor([[0.0], [torch.log(torch.tensor(3.0))]]))
    torch.testing.assert_close(p, torch.tensor([[0.5, 0.5], [0.25, 0.75]]))


@pytest.mark.parametrize("keep", [0, 1, 7, 60, 0.5, -1])
def test_a_file_cut_short_is_refused(model, tmp_path, keep):
    path = model.save(tmp_path / "m.safetensors")
    whole = path.read_bytes()
    path.write_bytes(whole[: int(len(whole) * keep) if isinstance(keep, float) else keep])
    with pytest.raises(DataError, match="damaged or no model file") as caught:
        checkpoint.load(path)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "content",
    [
        struct.pack("<Q", 2**64 - 1),
        struct.pack("<Q", 60),
        struct.pack("<Q", 1) + b"{",
        struct.pack("<Q", 2) + b"\xff\xfe",
        b"\x80\x04\x95",  # the start of a pickle
    ],
)
def test_hostile_headers_are_refused(tmp_path, content):
    path = tmp_path / "m.safetensors"
    path.write_bytes(content)
    with pytest.raises(DataError, match="damaged or no model file"):
        checkpoint.load(path)


@pytest.mark.parametrize(
    ("fact", "value"),
    [
        ("outputs", 10**9),
        ("outputs", -1),
        ("outputs", "3"),
        ("outputs", None),
        ("input_shape", [1, 8]),
        ("input_shape", [1, 10**9, 10**9]),
        ("input_shape", 7),
        ("origin", {"kind": "diagram"}),
        ("origin", {"kind": "zoo", "name": "nasnet_large"}),
        ("origin", {"kind": "zoo", "name": "lenet5", "arguments": {"num_classes": 2}}),
        ("origin", {"kind": "zoo", "name": "lenet5", "arguments": 7}),
        ("origin", {"kind": "factory", "name": "os:system"}),
        ("origin", "zoo"),
        ("classes", 3),
        ("preprocess", {"size": [8, 8], "colour": "red"}),
        ("preprocess", {"size": "big"}),
        ("preprocess", None),
        ("metrics", ["accuracy"]),
        ("several", "no"),
    ],
)
def test_a_file_that_lies_about_its_network_is_refused_in_one_line(model, tmp_path, fact, value):
    path = model.save(tmp_path / "m.safetensors")
    restate(path, **{fact: value})
    with pytest.raises(StriateError) as caught:
        checkpoint.load(path)
    assert "\n" not in str(caught.value)


def tied(num_classes: int = 3) -> nn.Module:
    """Two layers with one weight, a buffer without elements, one of a single number, one in half precision."""
    net = nn.Sequential(nn.Flatten(), nn.Linear(64, 64), nn.Linear(64, 64), nn.Linear(64, num_classes))
    net[1].weight = net[2].weight
    net.register_buffer("none", torch.zeros(0, 3))
    net.register_buffer("count", torch.tensor(7))
    net.register_buffer("halves", torch.arange(6, dtype=torch.bfloat16).reshape(2, 3).T)
    return net


def test_shared_empty_and_half_tensors_come_back(model, tmp_path):
    origin = {"kind": "factory", "name": f"{__name__}:tied"}
    one = Model(tied(), origin, (1, 8, 8), 3, model.classes, model.preprocess)
    again = Model(tied(), origin, (1, 8, 8), 3, model.classes, model.preprocess)
    checkpoint.load_weights(again.module, checkpoint.weights(one.save(tmp_path / "m.safetensors")), "m")
    assert again.module[1].weight is again.module[2].weight
    for key, value in one.module.state_dict().items():
        assert torch.equal(again.module.state_dict()[key], value)
        assert again.module.state_dict()[key].dtype == value.dtype


PREPARE = {"size": [8, 8], "channels": 1, "mean": [0.4], "std": [0.2]}


@pytest.mark.parametrize(
    ("facts", "says"),
    [
        ({"classes": ["a", "b"]}, "classes: 2 names for 3 outputs"),
        ({"classes": "abc"}, "classes: expected a valid tuple, got 'abc'"),
        ({"classes": ["a", None, "b"]}, "classes.1: expected a valid string, got None"),
        ({"classes": ["a", 1, "b"]}, "classes.1: expected a valid string, got 1"),
        ({"classes": ["a", "b", "a"]}, "classes: 'a' is named twice"),
        ({"outputs": True, "classes": ["a"]}, "outputs: expected a valid integer, got True"),
        ({"preprocess": PREPARE | {"size": [8, 9]}}, "preprocess: gives images of 1x8x9, and the network takes 1x8x8"),
        ({"preprocess": PREPARE | {"size": [True, 8]}}, r"preprocess: size \(True, 8\): expected numbers"),
        ({"preprocess": PREPARE | {"size": [8.0, 8]}}, r"preprocess: image size \(8\.0, 8\)"),
        ({"preprocess": PREPARE | {"mean": [float("nan")]}}, r"preprocess: mean \(nan,\): expected numbers"),
        ({"preprocess": PREPARE | {"std": [float("inf")]}}, r"preprocess: std \(inf,\): expected numbers"),
        ({"preprocess": PREPARE | {"std": [1e-300]}}, r"preprocess: std \(1e-300,\): must be positive"),
        ({"preprocess": PREPARE | {"mean": "0.4"}}, "preprocess: mean '0.4': expected numbers"),
        ({"preprocess": PREPARE | {"channels": True}}, "preprocess: True image channels"),
        ({"preprocess": PREPARE | {"crop_pct": False}}, r"preprocess: crop_pct \(False,\): expected numbers"),
        ({"preprocess": PREPARE | {"resize": ["crop"]}}, "preprocess: unknown resize"),
    ],
)  # fmt: skip
def test_classes_and_preprocessing_of_a_file_are_checked(model, tmp_path, facts, says):
    path = model.save(tmp_path / "m.safetensors")
    restate(path, **facts)
    with pytest.raises(
        DataError, match=f"m.safetensors is damaged: what it says of its network is wrong: {says}"
    ):
        checkpoint.load(path)


def test_what_could_not_be_read_again_is_not_saved(model, tmp_path):
    model.classes = ("a", "a", "b")
    with pytest.raises(UsageError, match="the model: classes: 'a' is named twice"):
        model.save(tmp_path / "m.safetensors")
    assert list(tmp_path.iterdir()) == []


def test_a_path_may_be_text(model, tmp_path):
    path = str(tmp_path / "m.safetensors")
    assert checkpoint.load(model.save(path)).classes == model.classes


class Inner(nn.Module):
    """A network that keeps all of itself under one name."""

    def __init__(self, name: str, num_classes: int = 3) -> None:
        super().__init__()
        self.add_module(name, nn.Sequential(nn.Flatten(), nn.Linear(64, num_classes)))

    def forward(self, x):
        return next(self.children())(x)


def under_module(num_classes: int = 3) -> nn.Module:
    return Inner("module", num_classes)


def under_orig_mod(num_classes: int = 3) -> nn.Module:
    return Inner("_orig_mod", num_classes)


@pytest.mark.parametrize("factory", [under_module, under_orig_mod])
@pytest.mark.parametrize("wrapped", ["", "module.", "_orig_mod."])
def test_names_are_unwrapped_only_as_far_as_the_network_wants(model, tmp_path, factory, wrapped):
    origin = {"kind": "factory", "name": f"{__name__}:{factory.__name__}"}
    one = Model(factory(), origin, (1, 8, 8), 3, model.classes, model.preprocess)
    path = one.save(tmp_path / "m.safetensors")
    with safe_open(path, "pt") as f:
        metadata = f.metadata()
    save_file({wrapped + key: value for key, value in load_file(path).items()}, path, metadata)
    back = checkpoint.load(path, origin["name"])
    assert back.module.state_dict().keys() == one.module.state_dict().keys()
    for key, value in one.module.state_dict().items():
        assert torch.equal(back.module.state_dict()[key], value)


def test_a_wrapped_network_of_which_a_layer_is_missing_is_told_of_that_layer_alone():
    state = dict(under_module().state_dict())
    bias = state.popitem()[0]
    with pytest.raises(DataError, match=rf"m: weights of another network: missing {bias} \(3,\)$"):
        checkpoint.load_weights(under_module(), state, "m")


def test_another_format_is_refused_with_both_versions(model, tmp_path):
    path = model.save(tmp_path / "m.safetensors")
    save_file(load_file(path), path, {"format": "striate 99", "model": "{}"})
    with pytest.raises(DataError, match=r"'striate 99'.*'striate 1'"):
        checkpoint.load(path)


def test_weights_without_a_network_are_refused(tmp_path):
    save_file({"w": torch.ones(2)}, tmp_path / "w.safetensors")
    with pytest.raises(DataError, match="not written by striate"):
        checkpoint.load(tmp_path / "w.safetensors")


def test_a_missing_file_is_a_matter_of_usage(tmp_path):
    with pytest.raises(UsageError, match="no model file"):
        checkpoint.load(tmp_path / "none.safetensors")


def test_weights_of_another_network_are_listed(model, tmp_path):
    wrong = {**model.module.state_dict()}
    first = next(iter(wrong))
    wrong[first] = torch.zeros(2)
    wrong["more"] = torch.zeros(1)
    wrong.pop(list(wrong)[1])
    with pytest.raises(DataError, match="weights of another network") as caught:
        checkpoint.load_weights(model.module, wrong, "here")
    for part in (f"{first} is (2,), expected", "unknown more (1,)", "missing"):
        assert part in str(caught.value)


def test_code_named_by_a_file_is_not_imported(model, tmp_path):
    path = model.save(tmp_path / "m.safetensors")
    restate(path, origin={"kind": "factory", "name": "antigravity:fly"})
    with pytest.raises(UsageError, match="built by code of yours"):
        checkpoint.load(path)


def test_a_failed_save_leaves_the_old_file(model, tmp_path, monkeypatch):
    path = model.save(tmp_path / "m.safetensors")
    before = path.read_bytes()

    def fail(where, data):
        with where.open("wb") as f:
            f.write(data[: len(data) // 2])
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", fail)
    with pytest.raises(
        StriateError, match=r"can't write .*No space left on device; [\d,]+ bytes wanted, [\d,]+ free"
    ):
        model.save(path)
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]
