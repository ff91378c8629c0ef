"""Where values are, held against the pixels that their gradients reach."""

import pytest
import torch
import torch.nn.functional as F

from striate.explain.places import Followed, layout_of


def patches(x):
    """Squares of 4 px as (n, h, w, c), each seen alone."""
    weight = torch.linspace(-1, 1, 6 * 3 * 16).view(6, 3, 4, 4)
    return F.conv2d(x, weight, stride=4).permute(0, 2, 3, 1)


def rolled_windows(x):
    t = patches(x).roll((-1, -1), (1, 2))
    n, h, w, c = t.shape
    t = t.view(n, h // 2, 2, w // 2, 2, c).permute(0, 1, 3, 2, 4, 5).reshape(-1, 4, c).tanh()
    t = t.view(n, h // 2, w // 2, 2, 2, c).permute(0, 1, 3, 2, 4, 5).reshape(n, h, w, c)
    return t.roll((1, 1), (1, 2))


def still_in_windows(x):
    t = patches(x).unflatten(2, (-1, 2)).unflatten(1, (-1, 2))
    return t.permute(0, 1, 3, 2, 4, 5).flatten(1, 4)


def with_tokens(x):
    t = patches(x).flatten(1, 2)
    token = torch.ones(len(t), 2, t.shape[2])
    return torch.cat((token, t * 2, token[:, :1]), 1).transpose(1, 2)


def merged(x):
    t = patches(x)
    t = torch.cat([t[:, i::2, j::2] for j in (0, 1) for i in (0, 1)], 3)
    return F.linear(F.layer_norm(t, (24,)), torch.linspace(-1, 1, 240).view(10, 24))


def cut_by_hand(x):
    n, c, h, w = x.shape
    t = x.view(n, c, h // 4, 4, w // 4, 4).permute(0, 2, 4, 1, 3, 5).flatten(3).flatten(1, 2)
    return F.linear(t, torch.linspace(-1, 1, 240).view(5, 48))


def unfolded(x):
    return F.linear(F.unfold(x, 4, stride=4).transpose(1, 2), torch.linspace(-1, 1, 240).view(5, 48))


def thinned(x):
    return patches(x)[:, ::2, 1::2]


def gated_from_afar(x):
    t = patches(x)
    return t * t.mean((1, 2), keepdim=True).sigmoid() + F.linear(
        t.transpose(1, 3), torch.ones(4, 4)
    ).transpose(1, 3)


@pytest.mark.parametrize(
    ("network", "shape"),
    [(patches, (6, 4, 6)), (rolled_windows, (6, 4, 6)), (still_in_windows, (6, 4, 6)), (with_tokens, (6, 4, 6)),
     (merged, (10, 2, 3)), (cut_by_hand, (5, 4, 6)), (unfolded, (5, 4, 6)), (thinned, (6, 2, 3))],
)  # fmt: skip
def test_a_value_is_where_its_gradient_is(network, shape):
    x = torch.randn(1, 3, 16, 24, requires_grad=True)
    with Followed(x) as followed:
        out = network(x)
    layout = layout_of(followed.of(out))
    assert layout is not None
    maps = layout.maps(out)
    assert maps.shape[1:] == shape
    high, wide = 16 // shape[1], 24 // shape[2]
    for i in range(shape[1]):
        for j in range(shape[2]):
            (slope,) = torch.autograd.grad(maps[0, :, i, j].pow(2).sum(), x, retain_graph=True)
            cell = slope[0, :, i * high : (i + 1) * high, j * wide : (j + 1) * wide].abs().sum()
            assert cell > 0
            torch.testing.assert_close(slope.abs().sum(), cell)
    several = torch.randn(3, 3, 16, 24)
    if network is not rolled_windows:  # each image of a batch by itself
        torch.testing.assert_close(layout.maps(network(several))[1:2], layout.maps(network(several[1:2])))


def attention(x, causal=False):
    t = patches(x).flatten(1, 2)
    return (t @ t.transpose(1, 2)).softmax(2), t


def test_what_an_attention_finds_belongs_to_its_query():
    x = torch.randn(1, 3, 16, 24)
    with Followed(x) as followed:
        weights, t = attention(x)
        found, fused = weights @ t, F.scaled_dot_product_attention(t[:, ::2], t, t)
        channels = F.normalize(t.transpose(1, 2) @ t, dim=1)
        kept = t @ channels
    assert layout_of(followed.of(weights)) is None
    for out, grid in ((found, (4, 6)), (fused, (4, 3)), (kept, (4, 6))):
        layout = layout_of(followed.of(out))
        assert layout is not None
        assert (layout.grid, layout.dims) == (grid, (1,))
    assert layout_of(followed.of(channels)) is None


@pytest.mark.parametrize(
    "lose",
    [
        lambda t: t.flatten(1, 2).sort(1).values,  # an operation that isn't known
        lambda t: t.flatten(1, 2)[:, torch.randperm(24)[:20]],  # some places are missing
        lambda t: t + t.flip(1),  # two places meet
        lambda t: F.linear(t.flatten(1, 2).transpose(1, 2), torch.ones(24, 24)),  # all places mixed
        lambda t: t.mean((1, 2)),
        lambda t: t.flatten(1),
        lambda t: torch.ones_like(t),
    ],
)
def test_nothing_is_guessed(lose):
    x = torch.randn(1, 3, 16, 24)
    with Followed(x) as followed:
        out = lose(patches(x))
    assert layout_of(followed.of(out)) is None


def test_what_has_no_place_takes_that_of_what_it_is_added_to():
    x = torch.randn(1, 3, 16, 24)
    with Followed(x) as followed:
        out = gated_from_afar(x)
    layout = layout_of(followed.of(out))
    assert layout is not None
    assert (layout.grid, layout.dims) == ((4, 6), (1, 2))
