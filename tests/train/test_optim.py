"""Each optimiser's first steps against its formula, and who is decayed."""

import pytest
import torch
from torch import nn

from striate.train import optim
from striate.train.optim import Muon, defaults, optimiser, orthogonalise

NAMES = ("gd", "sgd", "momentum", "nesterov", "rmsprop", "adagrad", "adadelta", "adam", "adamw", "muon")


def two_steps(name, gradients, lr=0.1, momentum=None, weight_decay=0.0, start=1.0):
    """The weight of a 1x1 dense layer after two steps along given gradients."""
    layer = nn.Linear(1, 1, bias=False).double()
    nn.init.constant_(layer.weight, start)
    opt = optimiser(name, layer, lr, momentum, weight_decay)
    for g in gradients:
        layer.weight.grad = torch.full((1, 1), g, dtype=torch.float64)
        opt.step()
    return layer.weight.item()


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("gd", 1 - 0.1 * 2 - 0.1 * 3),
        ("sgd", 1 - 0.1 * 2 - 0.1 * 3),
        ("momentum", 1 - 0.1 * 2 - 0.1 * (0.9 * 2 + 3)),
        ("nesterov", 1 - 0.1 * (2 + 0.9 * 2) - 0.1 * (3 + 0.9 * (0.9 * 2 + 3))),
        ("adagrad", 1 - 0.1 * 2 / 2 - 0.1 * 3 / (2**2 + 3**2) ** 0.5),
        ("rmsprop", 1 - 0.1 * 2 / (0.1 * 4) ** 0.5 - 0.1 * 3 / (0.9 * 0.1 * 4 + 0.1 * 9) ** 0.5),
        (  # means m1 = 0.1*2, m2 = 0.9*m1 + 0.1*3 and squares likewise, each divided by its own bias
            "adam",
            1 - 0.1 - 0.1 * ((0.18 + 0.3) / (1 - 0.81)) / ((0.999 * 0.004 + 0.009) / (1 - 0.999**2)) ** 0.5,
        ),
    ],
)
def test_two_steps_by_hand(name, expected):
    assert two_steps(name, (2.0, 3.0)) == pytest.approx(expected, rel=1e-6)


def test_sgd_takes_momentum_where_it_is_asked_for():
    assert two_steps("sgd", (2.0, 3.0), momentum=0.9) == pytest.approx(1 - 0.1 * 2 - 0.1 * (0.9 * 2 + 3))


def test_adamw_decays_the_weight_apart_from_the_gradient():
    # one step of Adam moves by lr whatever the gradient's size; the decay takes lr * 0.5 of the weight before it
    assert two_steps("adamw", (2.0,), weight_decay=0.5) == pytest.approx(1 * (1 - 0.1 * 0.5) - 0.1, rel=1e-6)


def test_sgd_takes_decay_as_l2():
    assert two_steps("sgd", (2.0,), weight_decay=0.5) == pytest.approx(1 - 0.1 * (2 + 0.5))


@pytest.mark.parametrize("name", NAMES)
def test_norms_and_biases_are_not_decayed(name):
    net = nn.Sequential(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2), nn.Flatten(), nn.Linear(2, 3))
    for group in optimiser(name, net, weight_decay=0.1).param_groups:
        assert all((p.ndim > 1) == (group["weight_decay"] > 0) for p in group["params"])


@pytest.mark.parametrize("name", NAMES)
def test_every_optimiser_at_its_default_rate_learns_a_line(name):
    torch.manual_seed(1)
    x = torch.randn(64, 3)
    y = (x @ torch.tensor([1.0, -2.0, 0.5]) > 0).long()
    net = nn.Linear(3, 2)
    opt = optimiser(name, net)
    first = None
    for _ in range(100):
        loss = nn.functional.cross_entropy(net(x), y)
        first = first or loss.item()
        opt.zero_grad()
        loss.backward()
        opt.step()
    assert loss.item() < first
    assert (opt.param_groups[0]["lr"], opt.param_groups[0]["weight_decay"]) == defaults(name)[:2]


def test_frozen_parameters_are_left_out():
    net = nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 2))
    net[0].requires_grad_(False)
    held = [p for g in optimiser("adam", net).param_groups for p in g["params"]]
    assert len(held) == 2


@pytest.mark.parametrize("shape", [(4, 9), (9, 4), (16, 16)])
def test_orthogonalise_keeps_the_singular_vectors_and_levels_the_values(shape):
    torch.manual_seed(0)
    g = torch.randn(shape, dtype=torch.float64)
    u, _, v = torch.linalg.svd(g, full_matrices=False)
    inner = u.T @ orthogonalise(g) @ v.T  # diagonal if the singular vectors are g's own
    values = inner.diagonal()
    assert torch.allclose(inner, values.diag(), atol=1e-6)
    assert values.min() > 0.3
    assert values.max() < 1.3  # five quintic steps level to this band, not to 1 (Jordan et al., 2024)


@pytest.mark.parametrize("shape", [(16, 144), (48, 12)])
def test_orthogonalise_is_the_iteration_as_published_even_where_directions_are_faint(shape):
    torch.manual_seed(0)
    u, values, v = torch.linalg.svd(torch.randn(shape), full_matrices=False)
    g = u @ torch.diag(torch.logspace(0, -6, len(values))) @ v
    x = g.double().T if shape[0] > shape[1] else g.double()
    x = x / x.norm()
    for _ in range(5):
        s = x @ x.T
        x = 3.4445 * x + (-4.7750 * s + 2.0315 * s @ s) @ x
    expected = x.T if shape[0] > shape[1] else x
    torch.testing.assert_close(orthogonalise(g).double(), expected, rtol=0, atol=5e-4)


def test_orthogonalise_stays_bounded_where_one_direction_outweighs_all():
    torch.manual_seed(0)
    g = torch.outer(torch.randn(64), torch.randn(576)) + 0.01 * torch.randn(64, 576)
    assert torch.linalg.matrix_norm(orthogonalise(g), 2) < 1.3


def test_muon_multiplies_in_whole_float32_and_leaves_the_setting_as_it_was(monkeypatch):
    seen = []
    monkeypatch.setattr(
        optim, "orthogonalise", lambda g: seen.append(torch.get_float32_matmul_precision()) or g
    )
    p = nn.Parameter(torch.zeros(2, 2))
    p.grad = torch.ones(2, 2)
    torch.set_float32_matmul_precision("high")
    try:
        Muon([p]).step()
        assert (seen, torch.get_float32_matmul_precision()) == (["highest"], "high")
    finally:
        torch.set_float32_matmul_precision("highest")


def test_muon_moves_a_kernel_by_its_orthogonal_update():
    torch.manual_seed(0)
    p = nn.Parameter(torch.zeros(8, 2, 1, 1))
    p.grad = torch.randn_like(p)
    Muon([p], lr=0.1, momentum=0.9).step()
    matrix = p.grad.flatten(1) * (1 + 0.9)  # Nesterov's first step looks 0.9 ahead
    assert torch.allclose(p.flatten(1), -0.1 * (8 / 2) ** 0.5 * orthogonalise(matrix), atol=1e-6)
