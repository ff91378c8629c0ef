"""Weights as training leaves them: wrapped in dictionaries, under prefixes, with an average beside them."""

import pytest
import torch
import torchvision.models as tv
from safetensors.torch import save_file
from torch import nn
from torch.optim.swa_utils import AveragedModel

from striate.errors import DataError, UsageError
from striate.transfer import load_weights
from striate.transfer.wrappers import inner


@pytest.fixture(scope="module")
def net():
    torch.manual_seed(0)
    return tv.squeezenet1_1(num_classes=3).eval()


@pytest.fixture(scope="module")
def other():
    return tv.squeezenet1_1(num_classes=3)


def under(prefix, net):
    return {f"{prefix}{key}": value for key, value in net.state_dict().items()}


def loaded(content, path):
    """What `load_weights` makes of a file with this content."""
    torch.save(content, path) if path.suffix != ".safetensors" else save_file(content, path)
    return load_weights("squeezenet1_1", path)


def is_from(found, net):
    return torch.equal(found.module.stem.conv1.weight, net.features[0].weight)


class Lightning(nn.Module):
    """A module that owns a network under `name`, as LightningModules do, and what a loss keeps."""

    def __init__(self, name, net):
        super().__init__()
        self.add_module(name, net)
        self.criterion = nn.CrossEntropyLoss(weight=torch.ones(3))


WHOLE = {
    "torch.compile and DistributedDataParallel": lambda net: under("_orig_mod.module.", net),
    "wrapped twice": lambda net: under("module.module.", net),
    "in a net": lambda net: {"net": net.state_dict(), "acc": 91.3, "epoch": 7},
    "in a network of a state": lambda net: {"state": {"network": under("module.", net)}, "step": 9},
    "under a name of its own": lambda net: {"classifier": net.state_dict(), "date": "today"},
    "beside an optimiser": lambda net: {
        "model": net.state_dict(),
        "optimizer": {"state": {0: {"exp_avg": torch.ones(2)}}, "param_groups": [{"lr": 0.1}]},
    },
    "an average alone": lambda net: AveragedModel(net).state_dict(),
    "an average in a dictionary": lambda net: {"ema": AveragedModel(net).state_dict()},
    "a LightningModule": lambda net: {"state_dict": under("model.", net), "pytorch-lightning_version": "2.5"},
    "a compiled backbone": lambda net: {"state_dict": under("backbone._orig_mod.", net)},
}  # fmt: skip


@pytest.mark.parametrize("kind", WHOLE)
def test_the_network_is_found(kind, net, tmp_path):
    found = loaded(WHOLE[kind](net), tmp_path / "a.ckpt")
    x = torch.randn(1, 3, 64, 64)
    with torch.no_grad():
        torch.testing.assert_close(found.module.eval()(x), net(x), rtol=1e-4, atol=1e-5)
    assert found.notes == ()


def test_what_lies_beside_the_network_is_told(net, tmp_path):
    state = Lightning("net", net).state_dict()
    found = loaded(state, tmp_path / "a.safetensors")
    assert found.notes == (f"{tmp_path / 'a.safetensors'}: 1 beside 'net.' left out (criterion.weight)",)


@pytest.mark.parametrize(
    ("average", "plain"), [("state_dict_ema", "state_dict"), ("ema", "model"), ("model_ema", "net")]
)
def test_an_average_beside_the_weights_is_taken_as_timm_does_and_told(average, plain, net, other, tmp_path):
    found = loaded({plain: other.state_dict(), average: net.state_dict()}, tmp_path / "a.pth")
    assert is_from(found, net)
    assert found.notes == (f"{tmp_path / 'a.pth'}: {average!r} was taken, not {plain!r}",)


def test_timm_takes_the_same_average(net, other, tmp_path):
    from timm.models import load_state_dict

    torch.save({"state_dict": other.state_dict(), "state_dict_ema": net.state_dict()}, tmp_path / "a.pth")
    theirs = load_state_dict(tmp_path / "a.pth", use_ema=True)["features.0.weight"]
    found = load_weights("squeezenet1_1", tmp_path / "a.pth")
    assert torch.equal(found.module.stem.conv1.weight, theirs)


def test_an_average_under_a_prefix(net, other, tmp_path):
    found = loaded(under("model.", other) | under("ema_model.module.", net), tmp_path / "a.pt")
    assert is_from(found, net)
    assert found.notes == (
        f"{tmp_path / 'a.pt'}: the weights under 'ema_model.module.' were taken, not under model.",
    )


def test_of_a_student_and_its_teacher_the_one_that_fits(net, tmp_path):
    """Their names are alike, their shapes aren't."""
    teacher = tv.squeezenet1_0(num_classes=3)
    found = loaded(under("teacher.", teacher) | under("student.", net), tmp_path / "a.pt")
    assert is_from(found, net)
    assert "beside 'student.' left out (teacher." in found.notes[0]


@pytest.mark.parametrize(
    "content",
    [
        lambda a, b: {"first": a.state_dict(), "second": b.state_dict()},
        lambda a, b: under("first.", a) | under("second.", b),
    ],
)
def test_two_networks_of_one_kind_are_refused(content, net, other, tmp_path):
    with pytest.raises(DataError, match=r"holds several sets of weights: first\.?, second") as caught:
        loaded(content(net, other), tmp_path / "a.pt")
    assert caught.value.hint == "save the one you mean alone"


def test_a_backbone_with_a_head_of_its_own_gets_a_fresh_one(net, tmp_path):
    base = tv.resnet18()
    base.fc = nn.Identity()
    state = under("backbone.", base) | {"head.weight": torch.ones(2, 512), "head.bias": torch.ones(2)}
    torch.save(state, tmp_path / "a.ckpt")
    found = load_weights("resnet18", tmp_path / "a.ckpt")
    assert torch.equal(found.module.stem.conv1.weight, base.conv1.weight)
    assert found.classes is None
    assert found.notes[0].endswith("2 beside 'backbone.' left out (head.weight, head.bias)")


@pytest.mark.parametrize("name", ["resnet18", "mobilenet_v2"])
def test_one_dense_layer_where_the_scoring_layer_was(name, tmp_path):
    """As one puts it there to train on other classes."""
    net = getattr(tv, name)(num_classes=3)
    if name == "resnet18":
        net.fc = nn.Sequential(nn.Dropout(0.2), nn.Linear(512, 3))
    else:
        net.classifier = nn.Linear(1280, 3)
        net.forward = lambda x: net.classifier(net.features(x).mean((2, 3)))
    torch.save(net.state_dict(), tmp_path / "a.pth")
    found, x = load_weights(name, tmp_path / "a.pth"), torch.randn(2, 3, 64, 64)
    assert (found.module.num_classes, found.notes) == (3, ())
    with torch.no_grad():
        torch.testing.assert_close(found.module.eval()(x), net.eval()(x), rtol=1e-4, atol=1e-5)


def test_another_head_is_left_out_and_told(tmp_path):
    net = tv.resnet18()
    net.fc = nn.Sequential(nn.Linear(512, 9), nn.ReLU(), nn.Linear(9, 3))
    torch.save(net.state_dict(), tmp_path / "a.pth")
    found = load_weights("resnet18", tmp_path / "a.pth")
    assert "the head was left out (fc.0.weight, fc.0.bias, fc.2.weight, fc.2.bias)" in found.notes[0]
    assert found.classes is None


def test_prefixes_of_another_network_stay_in_the_message(tmp_path):
    torch.save({"model.a": torch.ones(1), "model.b": torch.ones(1)}, tmp_path / "a.pt")
    with pytest.raises(UsageError, match=r"2 unexpected \(model\.a, model\.b\)"):
        load_weights("resnet18", tmp_path / "a.pt")


def test_what_holds_no_state_dict_is_handed_on_as_it_is(tmp_path):
    for content in ({"epoch": 3}, [1], {}, {"model": {"lr": 0.1}}):
        assert inner(content, tmp_path) == (content, "")
