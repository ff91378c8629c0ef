"""Small networks with one feature each that tools of this kind stumble over."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn


class OneConv(nn.Module):
    """The network behind the published Grad-CAM numbers: all weights 1 or -1."""

    def __init__(self, inplace: bool = False) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(1, 2, 3)
        self.relu1 = nn.ReLU(inplace)
        self.fc1 = nn.Linear(8, 4)
        self.relu2 = nn.ReLU(inplace)
        with torch.no_grad():
            self.conv1.weight.fill_(1)
            self.conv1.bias.copy_(torch.tensor([-50.0, -75.0]))
            self.fc1.weight.copy_(torch.cat([torch.ones(4, 5), -torch.ones(4, 3)], dim=1))
            self.fc1.bias.zero_()

    def forward(self, x):
        return self.relu2(self.fc1(self.relu1(self.conv1(x)).flatten(1)))


class Plain(nn.Module):
    """Two convolutions, every activation its own module."""

    def __init__(self, c: int = 3) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(c, 6, 3, padding=1)
        self.bn1 = nn.BatchNorm2d(6)
        self.relu1 = nn.ReLU()
        self.pool = nn.MaxPool2d(2)
        self.conv2 = nn.Conv2d(6, 6, 3, padding=1)
        self.relu2 = nn.ReLU()
        self.fc = nn.Linear(6, 4)

    def forward(self, x):
        x = self.pool(self.relu1(self.bn1(self.conv1(x))))
        return self.fc(self.relu2(self.conv2(x)).mean((2, 3)))


class Reused(Plain):
    """One ReLU object for both places, in place."""

    def __init__(self) -> None:
        super().__init__()
        self.relu1 = self.relu2 = nn.ReLU(inplace=True)


class Functional(Plain):
    """ReLU as a function, once in place."""

    def forward(self, x):
        x = self.pool(F.relu(self.bn1(self.conv1(x)), inplace=True))
        x = self.conv2(x)
        torch.relu_(x)
        return self.fc(x.mean((2, 3)))


class Twice(nn.Module):
    """The same convolution called twice."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv2d(3, 6, 3, padding=1)
        self.conv = nn.Conv2d(6, 6, 3, padding=1)
        self.relu = nn.ReLU(inplace=True)
        self.fc = nn.Linear(6, 4)

    def forward(self, x):
        x = self.relu(self.first(x))
        x = self.relu(self.conv(x))
        return self.fc(self.relu(self.conv(x)).mean((2, 3)))


@pytest.fixture
def plain() -> Plain:
    torch.manual_seed(1)
    model = Plain()
    model.bn1.running_mean.copy_(torch.arange(6.0) / 10)
    model.bn1.running_var.copy_(1 + torch.arange(6.0))
    return model


@pytest.fixture(params=[Reused, Functional])
def awkward(request, plain) -> nn.Module:
    """The same weights in a network whose ReLUs are no modules of their own."""
    model = request.param()
    model.load_state_dict(plain.state_dict())
    return model


@pytest.fixture
def one_conv() -> OneConv:
    return OneConv()


@pytest.fixture
def one_conv_in_place() -> OneConv:
    return OneConv(inplace=True)


@pytest.fixture
def twice() -> Twice:
    return Twice()


@pytest.fixture
def images() -> torch.Tensor:
    return torch.randn(3, 3, 12, 10, generator=torch.Generator().manual_seed(2))
