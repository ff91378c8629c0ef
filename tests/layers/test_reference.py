"""The NumPy reference against torch in float64, finite differences, and the digits it must learn."""

import subprocess
import sys

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from striate.layers import reference as ref

rng = np.random.default_rng(0)


def check_against_torch(layer: ref.Layer, x: ref.Array, expected: Tensor, leaves: list[Tensor]) -> None:
    """Forward, then the gradient of <y, dy> to the input and to every parameter."""
    y = layer.forward(x)
    np.testing.assert_allclose(y, expected.detach().numpy(), rtol=1e-10, atol=1e-12)
    dy = rng.normal(size=y.shape)
    wanted = torch.autograd.grad(expected, leaves, torch.from_numpy(dy))
    got = [layer.backward(dy), *layer.grads]
    for ours, theirs in zip(got, wanted, strict=True):
        np.testing.assert_allclose(ours, theirs.numpy(), rtol=1e-10, atol=1e-12)


def tensors(*arrays: ref.Array) -> list[Tensor]:
    return [torch.from_numpy(a.copy()).requires_grad_() for a in arrays]


@pytest.mark.parametrize(("k", "s", "p"), [(1, 1, 0), (3, 1, 1), (3, 2, 0), (5, 2, 2), (2, 3, 1)])
def test_convolution(k: int, s: int, p: int) -> None:
    layer, x = ref.Conv(3, 4, k, rng, s, p), rng.normal(size=(2, 3, 8, 9))
    layer.b[:] = rng.normal(size=4)
    leaves = tensors(x, layer.w, layer.b)
    check_against_torch(layer, x, F.conv2d(*leaves, stride=s, padding=p), leaves)


@pytest.mark.parametrize(("k", "s", "p"), [(2, 2, 0), (3, 2, 1), (3, 1, 0), (2, 3, 0)])
def test_pooling(k: int, s: int, p: int) -> None:
    x = rng.normal(size=(2, 3, 8, 9))
    leaves = tensors(x)
    check_against_torch(ref.MaxPool(k, s, p), x, F.max_pool2d(leaves[0], k, s, p), leaves)
    check_against_torch(ref.AvgPool(k, s, p), x, F.avg_pool2d(leaves[0], k, s, p), leaves)


def test_dense_relu_and_flatten() -> None:
    layer, x = ref.Dense(5, 3, rng), rng.normal(size=(4, 5))
    layer.b[:] = rng.normal(size=3)
    leaves = tensors(x, layer.w, layer.b)
    check_against_torch(layer, x, leaves[0] @ leaves[1] + leaves[2], leaves)
    leaves = tensors(x)
    check_against_torch(ref.ReLU(), x, leaves[0].relu(), leaves)
    image = rng.normal(size=(2, 3, 4, 5))
    leaves = tensors(image)
    check_against_torch(ref.Flatten(), image, leaves[0].flatten(1), leaves)


def test_softmax_cross_entropy() -> None:
    z, labels = rng.normal(size=(6, 4)) * 50, rng.integers(0, 4, 6)
    (leaf,) = tensors(z)
    expected = F.cross_entropy(leaf, torch.from_numpy(labels))
    loss, dz = ref.cross_entropy(z, labels)
    np.testing.assert_allclose(loss, expected.item(), rtol=1e-12)
    np.testing.assert_allclose(dz, torch.autograd.grad(expected, leaf)[0].numpy(), atol=1e-15)
    big = np.array([[1000.0, 0.0]])
    assert ref.softmax(big).tolist() == [[1, 0]]


def small_cnn() -> ref.Sequential:
    return ref.Sequential(
        *(ref.Conv(2, 3, 3, rng, p=1), ref.ReLU(), ref.MaxPool(2)),
        *(ref.Conv(3, 4, 2, rng), ref.ReLU(), ref.AvgPool(2)),
        *(ref.Flatten(), ref.Dense(4, 3, rng)),
    )


def test_every_gradient_equals_finite_differences() -> None:
    net, x, labels = small_cnn(), rng.normal(size=(3, 2, 6, 6)), np.array([0, 2, 1])
    dx = net.backward(ref.cross_entropy(net.forward(x), labels)[1])
    pairs = [(x, dx)] + [
        (w, g) for layer in net.layers for w, g in zip(layer.params, layer.grads, strict=True)
    ]
    delta = 1e-6
    for value, gradient in pairs:
        for at in rng.integers(0, value.size, 10):
            numeric = 0.0
            for sign in (1, -1):
                value.flat[at] += sign * delta
                numeric += sign * ref.cross_entropy(net.forward(x), labels)[0] / (2 * delta)
                value.flat[at] -= sign * delta
            assert abs(numeric - gradient.flat[at]) < 1e-8 + 1e-6 * abs(numeric)


def test_one_small_step_always_raises_the_probability_of_the_truth() -> None:
    """ConvNetJS' own specification: 100 random images, 100 improvements."""
    net = ref.Sequential(
        ref.Dense(2, 5, rng), ref.ReLU(), ref.Dense(5, 5, rng), ref.ReLU(), ref.Dense(5, 3, rng)
    )
    for _ in range(100):
        x, label = rng.uniform(-1, 1, (1, 2)), rng.integers(0, 3, 1)
        before = ref.softmax(net.forward(x))
        assert ((before > 0) & (before < 1)).all()
        assert np.isclose(before.sum(), 1)
        net.backward(ref.cross_entropy(net.forward(x), label)[1])
        ref.sgd(net, [np.zeros_like(w) for layer in net.layers for w in layer.params], lr=1e-4, momentum=0)
        assert ref.softmax(net.forward(x))[0, label] > before[0, label]


def test_sgd_equals_torch_over_several_steps() -> None:
    net, x, labels = small_cnn(), rng.normal(size=(5, 2, 6, 6)), np.array([0, 2, 1, 1, 0])
    weights = [w for layer in net.layers for w in layer.params]
    leaves = tensors(*weights)
    optimiser = torch.optim.SGD(leaves, lr=0.1, momentum=0.9)
    velocity = [np.zeros_like(w) for w in weights]
    for _ in range(5):
        net.backward(ref.cross_entropy(net.forward(x), labels)[1])
        ref.sgd(net, velocity, lr=0.1)
        y = F.max_pool2d(F.conv2d(torch.from_numpy(x), leaves[0], leaves[1], padding=1).relu(), 2)
        y = F.avg_pool2d(F.conv2d(y, leaves[2], leaves[3]).relu(), 2).flatten(1) @ leaves[4] + leaves[5]
        optimiser.zero_grad()
        F.cross_entropy(y, torch.from_numpy(labels)).backward()
        optimiser.step()
    for ours, theirs in zip(weights, leaves, strict=True):
        np.testing.assert_allclose(ours, theirs.detach().numpy(), rtol=1e-9, atol=1e-12)


def test_learns_the_digits(capsys: pytest.CaptureFixture[str]) -> None:
    scores = ref.main(epochs=3)
    assert scores["MLP"] > 0.95
    assert scores["CNN"] > 0.95
    assert capsys.readouterr().out.count("held-out accuracy") == 6


def test_needs_no_torch() -> None:
    """The package around it does import torch, so the file is run on its own."""
    code = "import runpy, sys; runpy.run_path(sys.argv[1]); print('torch' in sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", code, ref.__file__], capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "False"
