import torch
from torch import nn

from striate import zoo
from striate.layers.inception import InceptionResidual


def test_ten_twenty_and_ten_blocks_with_the_scales_of_the_authors_code():
    with torch.device("meta"):
        net = zoo.build("inception_resnet_v2")
    blocks = [m for m in net.modules() if isinstance(m, InceptionResidual)]
    assert [block.scale for block in blocks] == [0.17] * 10 + [0.1] * 20 + [0.2] * 9 + [1.0]
    assert [isinstance(block.relu, nn.ReLU) for block in blocks] == [True] * 39 + [False]


def test_maps_have_the_sizes_of_figure_15():
    with torch.device("meta"):
        net, x = zoo.build("inception_resnet_v2").eval(), torch.empty(1, 3, 299, 299)
        x = net.stem(x)
        sides = [(x := stage(x)).shape[2] for stage in net.stages]
    assert sides == [35, 17, 8]
