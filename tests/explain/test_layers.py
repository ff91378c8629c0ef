"""The layer that a reader of the paper would have named, in networks of every style."""

import warnings

import pytest
import torch
from torch import nn

from striate import zoo
from striate.errors import UsageError
from striate.explain import (
    METHODS,
    attribute,
    features,
    grad_cam,
    last_maps,
    map_layers,
    maximise,
    project,
    stage_layers,
)


def empty(make):
    """A network without drawn weights: all are 0."""
    with torch.device("meta"):
        module = make()
    module.to_empty(device="cpu")
    for t in (*module.parameters(), *module.buffers()):
        t.data.zero_()
    return module


@pytest.mark.parametrize(
    ("name", "layer"),
    [("vgg11", "stages.conv5.relu2"), ("alexnet", "stages.conv5.relu"), ("resnet18", "stages"),
     ("lenet5", "stages.c3.act3"), ("squeezenet1_1", "head.relu"), ("nin", "head.cccp"),
     ("mobilenet_v2", "stages"), ("mnist_cnn", "stages.conv2.relu")],
)  # fmt: skip
def test_zoo(name, layer):
    card = zoo.card(name)
    assert last_maps(empty(lambda: zoo.build(name)), torch.zeros(1, *card.input)) == layer


@pytest.mark.parametrize(
    ("name", "layer", "stages"),
    [
        ("vgg11", "features.19", ["features.1", "features.4", "features.9", "features.14", "features.19"]),
        ("resnet18", "layer4", ["relu", "layer1", "layer2", "layer3", "layer4"]),
        ("googlenet", "inception5b", ["conv1", "conv3", "inception3b", "inception4e", "inception5b"]),
        ("mobilenet_v2", "features", ["features.1", "features.3", "features.6", "features.13", "features"]),
    ],
)
def test_torchvision(name, layer, stages):
    models = pytest.importorskip("torchvision.models")
    options = {"init_weights": False} if name == "googlenet" else {}
    module, x = empty(lambda: getattr(models, name)(weights=None, **options)), torch.zeros(1, 3, 224, 224)
    assert last_maps(module, x) == layer
    assert [maps.path for maps in stage_layers(module, x)] == stages


def test_where_the_rectifier_is_a_function_the_convolution_is_taken(awkward, images):
    assert last_maps(awkward, images) in ("relu1", "conv2")
    assert [m.shape for m in stage_layers(awkward, images)] == [(6, 12, 10), (6, 6, 5)]


def test_channels_last_inside_are_maps_too(images):
    class Last(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv, self.fc = nn.Conv2d(3, 64, 3), nn.Linear(64, 32)
            self.norm, self.head = nn.LayerNorm(32), nn.Linear(32, 2)

        def forward(self, x):
            return self.head(self.norm(self.fc(self.conv(x).permute(0, 2, 3, 1))).mean((1, 2)))

    net = Last()
    assert {m.path: m.shape for m in map_layers(net, images)} == {
        "conv": (64, 10, 8), "fc": (32, 10, 8), "norm": (32, 10, 8),
    }  # fmt: skip
    assert last_maps(net, images) == "norm"
    with torch.no_grad():
        given = net.norm(net.fc(net.conv(images).permute(0, 2, 3, 1)))
    torch.testing.assert_close(features(net, images, ["norm"])["norm"], given.permute(0, 3, 1, 2))
    # the score is linear in what is averaged: the mean slope of channel k is its weight over the number of places
    torch.testing.assert_close(grad_cam(net, images, 1), given @ net.head.weight[1].detach() / 80)


class OneRectifier(nn.Module):
    """One ReLU for two convolutions and the dense layer after them, or one for each."""

    def __init__(self, shared: bool, inplace: bool) -> None:
        super().__init__()
        self.conv1, self.conv2 = nn.Conv2d(3, 5, 3), nn.Conv2d(5, 6, 3)
        self.fc1, self.fc2 = nn.Linear(6, 7), nn.Linear(7, 4)
        self.relu = nn.ReLU(inplace)
        self.relu2, self.relu3 = (self.relu, self.relu) if shared else (nn.ReLU(inplace), nn.ReLU(inplace))

    def forward(self, x):
        x = self.relu2(self.conv2(self.relu(self.conv1(x))))
        return self.fc2(self.relu3(self.fc1(x.mean((2, 3)))))


@pytest.mark.parametrize("inplace", [False, True])
def test_shared_and_separate_rectifiers_choose_alike(images, inplace):
    shared, separate = OneRectifier(True, inplace), OneRectifier(False, inplace)
    separate.load_state_dict(shared.state_dict())
    assert last_maps(separate, images, 1) == "relu2"
    assert last_maps(shared, images, 1) == "relu (2)"
    assert [m.shape for m in stage_layers(shared, images)] == [
        m.shape for m in stage_layers(separate, images)
    ]
    for method in METHODS:
        torch.testing.assert_close(
            attribute(shared, images, method, 1).raw, attribute(separate, images, method, 1).raw
        )
    torch.testing.assert_close(grad_cam(shared, images, 1, "relu (1)"), grad_cam(separate, images, 1, "relu"))
    with pytest.raises(UsageError, match=r"layer relu \(4\) is never called"):
        grad_cam(shared, images, 1, "relu (4)")


class Branches(nn.Module):
    """Maps for class 0, maps for class 1, and maps that only an auxiliary answer looks at, in this order."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 4, 3)
        self.zero, self.one, self.aside = (nn.Conv2d(4, 4, 3) for _ in range(3))
        self.fc = nn.Linear(4, 1)

    def forward(self, x):
        x = self.stem(x)
        heads = [self.fc(branch(x).mean((2, 3))) for branch in (self.zero, self.one)]
        self.answer_aside = self.aside(x).detach()
        return torch.cat(heads, 1)


def test_a_layer_without_a_say_in_the_score_is_never_chosen(images):
    net = Branches()
    assert [last_maps(net, images, k) for k in (0, 1)] == ["zero", "one"]
    assert last_maps(net, images, [0, 1, 0]) == "stem"  # one layer for all images
    for method in ("grad-cam", "grad-cam++", "layer-cam", "score-cam"):
        found = attribute(net, images, method, [0, 1, 0])
        one_by_one = [
            attribute(net, images[i : i + 1], method, k, "stem").raw for i, k in enumerate((0, 1, 0))
        ]
        torch.testing.assert_close(found.raw, torch.cat(one_by_one))


class Attention(nn.Module):
    """Patches of 4 px and a class token, one block of attention, its weights an output of a layer of their own."""

    def __init__(self, pool: bool) -> None:
        super().__init__()
        self.patches = nn.Conv2d(3, 8, 4, stride=4)
        self.token = nn.Parameter(torch.randn(1, 1, 8))
        self.norm1, self.qkv, self.softmax = nn.LayerNorm(8), nn.Linear(8, 24), nn.Softmax(-1)
        self.norm2, self.head, self.pool = nn.LayerNorm(8), nn.Linear(8, 3), pool

    def forward(self, x):
        x = self.patches(x).flatten(2).transpose(1, 2)
        x = torch.cat((self.token.expand(len(x), -1, -1), x), 1)
        q, k, v = self.qkv(self.norm1(x)).unflatten(2, (3, 2, 4)).permute(2, 0, 3, 1, 4)
        weights = self.softmax(q @ k.transpose(2, 3) / 2)  # (n, heads, tokens, tokens)
        x = self.norm2(x + (weights @ v).transpose(1, 2).flatten(2))
        return self.head(x[:, 1:].mean(1) if self.pool else x[:, 0])


@pytest.mark.parametrize(("pool", "layer"), [(True, "norm2"), (False, "norm1")])
def test_token_grids_are_maps_and_weights_of_attention_are_not(pool, layer):
    """Where only the class token is asked, what the patches become at the end has no say."""
    net, x = Attention(pool), torch.randn(2, 3, 16, 12)
    assert last_maps(net, x) == layer
    assert {m.path: m.shape for m in map_layers(net, x)} == {
        "patches": (8, 4, 3), "norm1": (8, 4, 3), "qkv": (24, 4, 3), "norm2": (8, 4, 3),
    }  # fmt: skip
    kept = []
    handle = net.get_submodule(layer).register_forward_hook(lambda *a: kept.append(a[2]))
    score = net(x)[:, 1].sum()
    handle.remove()
    (slopes,) = torch.autograd.grad(score, kept[0])
    expected = (kept[0] * slopes[:, 1:].mean(1, keepdim=True)).sum(2)[:, 1:].unflatten(1, (4, 3))
    torch.testing.assert_close(grad_cam(net, x, 1), expected)
    with pytest.raises(UsageError, match=r"layer softmax gives \(2, 2, 13, 13\): it has no width and height"):
        grad_cam(net, x, 1, "softmax")


def test_channels_of_tokens_are_climbed_and_projected():
    """Without attention in between, a token is its patch and nothing else."""
    net, x = Attention(pool=True), torch.randn(1, 3, 16, 12)
    back = project(net, x, "norm1", torch.tensor([5]), torch.tensor([[2, 1]]))[0]
    patch = back[:, 8:12, 4:8].clone()
    back[:, 8:12, 4:8] = 0
    assert patch.abs().sum() > 0 == back.abs().sum()
    liked = maximise(net, (3, 16, 12), [5], "norm1", steps=20, variation=0)
    assert (
        features(net, liked, ["norm1"])["norm1"][0, 5].mean()
        > features(net, x, ["norm1"])["norm1"][0, 5].mean()
    )


def test_what_torch_jit_compiled_is_refused_where_layers_are_asked_for(plain, images):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        traced = torch.jit.trace(plain.eval(), images)
    torch.testing.assert_close(
        attribute(traced, images, "saliency").raw, attribute(plain, images, "saliency").raw
    )
    with pytest.raises(UsageError, match=r"torch\.jit compiled, which hides their layers"):
        last_maps(traced, images)
    for refused in (
        lambda: attribute(traced, images, "guided-backprop"),
        lambda: grad_cam(traced, images, 1, "conv2"),
    ):
        with pytest.raises(UsageError, match=r"torch\.jit"):
            refused()
