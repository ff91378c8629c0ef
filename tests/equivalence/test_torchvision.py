import pytest
import torch
import torchvision.models as peers

from striate import zoo
from striate.errors import UsageError
from striate.transfer import load_torchvision, to_torchvision
from striate.zoo.inception_v3 import TORCHVISION

NO_DROPOUT = {"dropout": 0.0}
AUX = {"aux_logits": True, "init_weights": False, "dropout": 0.0, "dropout_aux": 0.0}
slow = pytest.mark.slow

CASES = [  # our name, side, our arguments, torchvision's
    ("squeezenet1_1", 65, NO_DROPOUT, NO_DROPOUT),
    ("googlenet", 64, {"aux_heads": True, "dropout": 0.0, "dropout_aux": 0.0}, AUX),
    ("mobilenet_v2", 64, NO_DROPOUT, NO_DROPOUT),
    pytest.param("alexnet", 80, NO_DROPOUT, NO_DROPOUT, marks=slow),
    pytest.param("squeezenet1_0", 65, NO_DROPOUT, NO_DROPOUT, marks=slow),
    *(pytest.param(f"vgg{n}", 64, NO_DROPOUT, NO_DROPOUT, marks=slow) for n in (11, 13, 16, 19)),
    *(pytest.param(f"vgg{n}_bn", 64, NO_DROPOUT, NO_DROPOUT, marks=slow) for n in (11, 13, 16, 19)),
    pytest.param(
        "inception_v3",
        299,
        {"aux_heads": True, "dropout": 0.0, **TORCHVISION},
        {"init_weights": False, "dropout": 0.0},
        marks=slow,
    ),
    *(pytest.param(f"resnet{n}", 65, {}, {}, marks=slow) for n in (18, 34, 50, 101, 152)),
    *(pytest.param(n, 65, {}, {}, marks=slow) for n in ("resnext50_32x4d", "resnext101_32x8d")),
    *(pytest.param(f"densenet{n}", 65, {}, {}, marks=slow) for n in (121, 161, 169, 201)),
]


@pytest.mark.parametrize(("name", "side", "mine", "theirs"), CASES)
def test_same_as_torchvision(name, side, mine, theirs, torch_peer, same_network):
    ours = zoo.build(name, num_classes=10, **mine)
    peer = getattr(peers, name)(num_classes=10, **theirs)
    same_network(ours, torch_peer(peer, load_torchvision, to_torchvision), (4, 3, side, side))


@pytest.mark.parametrize(
    "name", ["alexnet", "vgg16_bn", "googlenet", "inception_v3", "resnext50_32x4d", "densenet121"]
)
def test_torchvision_opens_what_we_export(name):
    with torch.device("meta"):
        aux = {"aux_heads": True} if name in ("googlenet", "inception_v3") else {}
        theirs = {"aux_logits": True, "init_weights": False} if aux else {}
        peer = getattr(peers, name)(**theirs)
        peer.load_state_dict(to_torchvision(zoo.build(name, **aux)), strict=True)


def test_a_file_with_auxiliary_heads_fits_a_network_without():
    peer = peers.googlenet(num_classes=10, **AUX)
    ours = zoo.build("googlenet", num_classes=10)
    load_torchvision(ours, peer.state_dict())
    assert torch.equal(ours.head.fc.weight, peer.fc.weight)


def test_weights_of_another_network_are_refused_in_one_line():
    ours = zoo.build("squeezenet1_1", num_classes=10)
    before = {key: value.clone() for key, value in ours.state_dict().items()}
    with pytest.raises(UsageError) as caught:
        load_torchvision(ours, peers.squeezenet1_0(num_classes=10).state_dict())
    said = str(caught.value)
    assert said.startswith("these torchvision weights do not fit: 12 missing (features.6.squeeze.weight, ")
    assert "; 12 unexpected (features.5.expand1x1.bias, " in said
    assert "; 10 of another shape (features.0.weight: (96, 3, 7, 7) instead of (64, 3, 3, 3), " in said
    assert "\n" not in said
    assert all(torch.equal(value, before[key]) for key, value in ours.state_dict().items())
