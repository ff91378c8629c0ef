import torch

from striate import zoo


def test_map_sizes_of_figure_3():
    with torch.device("meta"):
        net, x = zoo.build("zfnet"), torch.empty(1, 3, 224, 224)
        sides = [net.stem.conv1(x).shape[-1], net.stem(x).shape[-1]]
        x = net.stem(x)
        sides += [net.stages.conv2.conv(x).shape[-1]]
        for stage in net.stages:
            x = stage(x)
            sides.append(x.shape[-1])
    assert sides == [110, 55, 26, 13, 13, 13, 6]
