import pytest
import torch
from torch import nn

from striate.errors import UsageError
from striate.layers.chain import chain
from striate.zoo.network import ZooNet, he_init, replace_scorer, scorer


def network(**options) -> ZooNet:
    stages = {"first": nn.Conv2d(4, 6, 3), "second": nn.ReLU()}
    head = chain(pool=nn.AdaptiveAvgPool2d(1), flatten=nn.Flatten(), fc=nn.Linear(6, 5))
    return ZooNet(nn.Conv2d(3, 4, 3), stages, head, in_chans=3, min_side=5, **options)


def test_the_surface_is_head_of_stages_of_stem():
    net, x = network(), torch.randn(2, 3, 8, 7)
    assert list(net.stages._modules) == ["first", "second"]
    assert torch.equal(net.features(x), net.stages.first(net.stem(x)).relu())
    assert torch.equal(net(x), net.head.fc(net.features(x).mean((2, 3), keepdim=True).flatten(1)))
    assert net.num_classes == 5


@pytest.mark.parametrize(
    ("shape", "message"),
    [
        ((2, 1, 8, 8), r"expected images \(n, 3, h, w\), got \(2, 1, 8, 8\): check in_chans"),
        ((3, 8, 8), r"expected images \(n, 3, h, w\), got \(3, 8, 8\): check in_chans"),
        ((1, 3, 4, 9), "needs images of at least 5x5, got 4x9"),
    ],
)
def test_what_cannot_be_digested_is_refused_in_one_line(shape, message):
    with pytest.raises(UsageError, match=message):
        network()(torch.zeros(shape))


def test_a_fixed_size_is_named_with_the_way_out():
    with pytest.raises(UsageError, match="takes 6x6 images, got 8x8") as caught:
        network(img_size=6)(torch.zeros(1, 3, 8, 8))
    assert "img_size=8" in caught.value.hint


@pytest.mark.parametrize(
    "head", [chain(fc=nn.Linear(6, 5, bias=False)), chain(conv=nn.Conv2d(6, 5, 1), relu=nn.ReLU())]
)
def test_a_new_scorer_is_like_the_old_one_but_for_its_width(head):
    path, old = scorer(head.double())
    fresh = replace_scorer(head, 9)
    assert head.get_submodule(path) is fresh
    assert fresh.weight.shape == (9, *old.weight.shape[1:])
    assert fresh.weight.dtype == torch.float64
    assert (fresh.bias is None) == (old.bias is None)


def test_reset_head_initialises_and_refuses_no_classes():
    net = network(init=he_init)
    net.reset_head(2)
    assert net.num_classes == 2
    assert not net.head.fc.bias.any()
    with pytest.raises(UsageError, match="num_classes must be at least 1, got 0"):
        net.reset_head(0)


def test_he_init_counts_the_connections_that_leave_an_input():
    torch.manual_seed(0)
    grouped = nn.Conv2d(64, 128, 5, groups=4)  # an input pixel feeds 32 channels at 25 places
    he_init(grouped)
    assert grouped.weight.var().item() == pytest.approx(2 / 800, rel=0.02)
    assert not grouped.bias.any()


@pytest.mark.filterwarnings(
    "ignore:.*torch.jit.trace:DeprecationWarning"
)  # OpenVINO's converter still traces
def test_a_trace_is_silent_and_not_bound_to_one_size():
    net = network().eval()
    traced = torch.jit.trace(net, torch.randn(1, 3, 8, 8))
    x = torch.randn(2, 3, 9, 11)
    torch.testing.assert_close(traced(x), net(x))
