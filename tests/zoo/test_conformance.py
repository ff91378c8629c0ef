"""The ladder that every registered network climbs, whoever wrote it.

Without arithmetic, on the meta device: the card and golden.json; shapes at three sizes, grey and colour. With it,
at the smallest sensible size: gradients, save and load, a new head, determinism, batches. Last: it can learn.
"""

import pytest
import torch
from safetensors.torch import load, save
from torch import nn

from striate import zoo
from striate.errors import UsageError
from striate.zoo.registry import golden, registered

CARDS = registered()
QUICK = {  # one of each family, cheap enough for every commit
    "allcnn",
    "cifar10_cnn",
    "densenet121",
    "lenet5",
    "mlp",
    "mnist_cnn",
    "mobilenet_v1",
    "mobilenet_v2",
    "nin",
    "plain20_cifar",
    "resnet18",
    "resnet18v2",
    "resnet8",
    "seresnet18",
    "squeezenet1_1",
}


def every(quick: set[str] | None = None) -> pytest.MarkDecorator:
    """Every registered network; those not in `quick` wait for the slow run."""
    names = [
        name if quick is None or name in quick else pytest.param(name, marks=pytest.mark.slow)
        for name in CARDS
    ]
    return pytest.mark.parametrize("name", names)


def on_meta(name: str, **options: int) -> nn.Module:
    with torch.device("meta"):
        return zoo.build(name, **options).eval()


def small(name: str) -> tuple[nn.Module, torch.Tensor]:
    """The network for 3 classes, and two images of 32 pixels, or more where it must be."""
    side = max(CARDS[name].min_side, 32)
    net = zoo.build(name, num_classes=3, img_size=side)
    return net, torch.randn(2, CARDS[name].input[0], side, side)


@every()
def test_parameters_are_those_of_the_card_and_of_golden_json(name):
    net, card = on_meta(name), CARDS[name]
    assert sum(p.numel() for p in net.parameters()) == card.params
    statistics = [b for key, b in net.named_buffers() if key.endswith(("running_mean", "running_var"))]
    assert card.params + sum(b.numel() for b in statistics) == golden()[name]["params_with_statistics"]
    assert not any(getattr(m, "inplace", False) for m in net.modules())


@every(QUICK)
def test_stages_are_those_of_golden_json_and_no_layer_is_called_twice(name):
    net, seen, called = on_meta(name), {}, []
    for key, part in {"stem": net.stem, **dict(net.stages.named_children())}.items():
        part.register_forward_hook(lambda _m, _x, y, key=key: seen.update({key: y}))
    for m in net.modules():
        if not list(m.children()):
            m.register_forward_hook(lambda m, _x, _y: called.append(m))
    assert net(torch.empty(1, *CARDS[name].input, device="meta")).shape == (1, net.num_classes)
    firsts = {key: y if isinstance(y, torch.Tensor) else y[0] for key, y in seen.items()}
    assert {key: list(y.shape[1:]) for key, y in firsts.items()} == golden()[name]["stages"]
    assert len(called) == len(set(called))


@every(QUICK)
def test_any_size_from_the_smallest_on_in_grey_and_in_colour(name):
    least = CARDS[name].min_side
    for c_in in (1, 3):
        for side in (least, least + 1, 2 * least + 5):
            net = on_meta(name, in_chans=c_in, num_classes=5, img_size=side)
            y = net(torch.empty(2, c_in, side, side, device="meta"))
            assert y.shape == (2, 5)
            assert y.dtype == torch.float32


@every(QUICK)
def test_a_smaller_image_is_refused_and_could_not_be_digested(name):
    net, card = on_meta(name), CARDS[name]
    if card.min_side == 1:
        return
    with pytest.raises(UsageError, match=f"at least {card.min_side}x{card.min_side}, got"):
        zoo.build(name, img_size=card.min_side - 1)
    x = torch.empty(2, card.input[0], card.min_side - 1, card.min_side - 1, device="meta")
    with pytest.raises(UsageError, match="images"):
        net(x)
    with pytest.raises((RuntimeError, UsageError)):
        net.head(net.stages(net.stem(x)))


@every(QUICK)
def test_every_parameter_learns_and_no_gradient_explodes(name):
    net, x = small(name)
    net.train()(x).square().sum().backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in net.parameters())


@every(QUICK)
def test_one_image_or_two_saved_or_not_the_answer_is_the_same(name):
    net, x = small(name)
    with torch.no_grad():
        logits = net.eval()(x)
        assert torch.equal(net(x), logits)
        torch.testing.assert_close(torch.cat([net(x[:1]), net(x[1:])]), logits, rtol=1e-4, atol=1e-5)
        weights = load(save(net.state_dict()))
        net.reset_head(7)
        assert net(x).shape == (2, 7)
        net.reset_head(3)
        net.load_state_dict(weights)
        torch.testing.assert_close(net(x), logits, rtol=0, atol=0)


@every({"cifar10_cnn", "lenet5", "mlp", "mnist_cnn"})
def test_eight_images_are_learned_by_heart(name):
    if name in ("very_deep", "plain110_cifar"):
        return  # they are there to show that they cannot
    for lr in (1e-3, 1e-4):  # the first kills deep networks without batch norm
        torch.manual_seed(0)
        net, x = small(name)
        x, y = torch.randn(8, *x.shape[1:]), torch.arange(8) % 3
        adam = torch.optim.Adam(net.parameters(), lr)
        for _ in range(200):
            adam.zero_grad()
            nn.functional.cross_entropy(net.train()(x), y).backward()
            adam.step()
            with torch.no_grad():
                if torch.equal(net.eval()(x).argmax(1), y):
                    return
    pytest.fail("not learned in 200 steps at either rate")
