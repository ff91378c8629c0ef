from functools import partial

import pytest
import timm
import torch

from striate import zoo
from striate.transfer import load_timm, to_timm
from striate.zoo import inception_v3, nasnet, resnet_v2, senet, xception

slow = pytest.mark.slow
NO_DROPOUT = {"dropout": 0.0}

CASES = [  # our name, timm's, side, our arguments
    ("mobilenet_v1", "mobilenetv1_100", 64, NO_DROPOUT),
    *(pytest.param(f"seresnet{n}", f"seresnet{n}", 65, {}, marks=slow) for n in (50, 101, 152)),
    *(pytest.param(f"seresnet{n}", f"legacy_seresnet{n}", 65, senet.CAFFE, marks=slow) for n in (50, 101)),
    *(
        pytest.param(f"resnet{n}v2", f"resnetv2_{n}", 65, resnet_v2.TIMM, marks=slow)
        for n in (18, 34, 50, 101)
    ),
    pytest.param("resnet50", "resnet50", 65, {}, marks=slow),
    pytest.param("vgg16_bn", "vgg16_bn", 224, NO_DROPOUT, marks=slow),
    pytest.param("densenet121", "densenet121", 65, {}, marks=slow),
    pytest.param("mobilenet_v2", "mobilenetv2_100", 64, NO_DROPOUT, marks=slow),
    pytest.param("inception_v3", "inception_v3", 107, {**NO_DROPOUT, **inception_v3.TORCHVISION}, marks=slow),
    pytest.param("inception_resnet_v2", "inception_resnet_v2", 107, NO_DROPOUT, marks=slow),
    pytest.param("xception", "legacy_xception", 90, {**NO_DROPOUT, **xception.TIMM}, marks=slow),
    pytest.param("nasnet_large", "nasnetalarge", 90, {**NO_DROPOUT, **nasnet.TIMM}, marks=slow),
]


@pytest.mark.parametrize(("name", "theirs", "side", "mine"), CASES)
def test_same_as_timm(name, theirs, side, mine, torch_peer, same_network):
    ours = zoo.build(name, num_classes=10, **mine)
    peer = timm.create_model(theirs, num_classes=10, drop_rate=0.0)
    export = partial(to_timm, like=peer.state_dict())
    same_network(ours, torch_peer(peer, load_timm, export), (4, 3, side, side))


@pytest.mark.parametrize(("name", "theirs"), [("vgg16_bn", "vgg16_bn"), ("nasnet_large", "nasnetalarge")])
def test_timm_opens_what_we_export(name, theirs):
    with torch.device("meta"):
        peer = timm.create_model(theirs)
        peer.load_state_dict(to_timm(zoo.build(name)), strict=True)
