import torch
from torch import nn

from striate import zoo


def test_parameters_of_each_layer_of_section_2b():
    """C3 with all connections; C1 156, C5 48,120 and F6 10,164 are the paper's own counts."""
    counts = [
        sum(p.numel() for p in m.parameters())
        for m in zoo.build("lenet5").modules()
        if isinstance(m, nn.Conv2d | nn.Linear)
    ]
    assert counts == [156, (5 * 5 * 6 + 1) * 16, 48_120, 10_164, 84 * 10 + 10]


def test_c5_sees_the_whole_image():
    assert zoo.build("lenet5").features(torch.zeros(2, 1, 32, 32)).shape == (2, 120, 1, 1)
    bigger = zoo.build("lenet5", img_size=48)
    assert bigger(torch.zeros(2, 1, 48, 48)).shape == (2, 10)


def test_the_activation_is_a_choice():
    kinds = [type(m).__name__ for m in zoo.build("lenet5", activation="relu").modules()]
    assert kinds.count("ReLU") == 4
    assert "Tanh" not in kinds
