"""Predicted memory against arithmetic by hand, torch's optimisers, and the measured peak of real processes."""

import importlib.util
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn, optim

from striate.anatomy import largest_batch, memory, savings
from striate.anatomy.memory import _updating
from striate.anatomy.rehearsal import Live
from striate.diagram.meta import TraceError
from striate.errors import UsageError

PROGRAM = Path(__file__).with_name("train_and_measure.py")
spec = importlib.util.spec_from_file_location("train_and_measure", PROGRAM)
assert spec
assert spec.loader
networks = importlib.util.module_from_spec(spec)
spec.loader.exec_module(networks)

CONV = 4 * 8 * 30 * 30  # bytes of one image after the convolution
POOL = 4 * 8 * 15 * 15


def small() -> nn.Module:
    layers = (nn.Conv2d(3, 8, 3), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(), nn.Linear(1800, 10))
    return nn.Sequential(*layers)


def test_every_part_by_hand() -> None:
    m = memory(small(), (3, 32, 32), batch=2, optimiser="momentum")
    weights = 4 * (224 + 18_010)
    image, indices = 4 * 3 * 32 * 32, 2 * POOL
    assert (m.weights, m.gradients, m.optimiser_state) == (weights, weights, weights)
    # convolution keeps its input, ReLU its output, which pooling keeps too with int64 indices, the dense layer its
    # input, log-softmax its output
    assert m.kept == 2 * (image + CONV + indices + POOL + 40)
    # inference: image, convolution and ReLU alive together
    assert m.inference == weights + 2 * (image + 2 * CONV)
    # training: everything kept, and the convolution's gradient on its way through pooling and ReLU
    logits = 2 * 40
    gradients = 4 * 18_010 + 2 * 2 * CONV
    assert m.training == pytest.approx(
        2 * weights + m.kept + logits + gradients - 2 * (POOL + indices), rel=0.02
    )


def test_what_is_in_place_is_not_kept_twice() -> None:
    def net(inplace: bool) -> nn.Module:
        return nn.Sequential(nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.ReLU(inplace), nn.Conv2d(8, 8, 3))

    apart, within = (memory(net(inplace), (3, 32, 32), batch=4, optimiser="sgd") for inplace in (False, True))
    assert apart.kept == within.kept  # batch norm keeps its input, ReLU its output
    assert apart.inference - within.inference == 0
    bare = nn.Sequential(nn.ReLU(), nn.ReLU(), nn.ReLU())
    assert memory(bare, (3, 32, 32), batch=1).inference == 2 * 4 * 3 * 32 * 32 + 4 * 3 * 32 * 32


def test_half_precision_halves_activations_and_adds_weights() -> None:
    full, half = (memory(small(), (3, 32, 32), batch=64, precision=p) for p in ("fp32", "bf16"))
    assert half.weights == full.weights
    assert 0.45 < half.kept / full.kept < 0.8  # indices of max-pooling stay int64
    assert half.training < full.training


TORCH: dict[str, Callable[[list[nn.Parameter]], optim.Optimizer]] = {
    "sgd": lambda p: optim.SGD(p, 0.1, weight_decay=0.1),
    "momentum": lambda p: optim.SGD(p, 0.1, momentum=0.9, weight_decay=0.1),
    "nesterov": lambda p: optim.SGD(p, 0.1, momentum=0.9, nesterov=True, weight_decay=0.1),
    "rmsprop": lambda p: optim.RMSprop(p, weight_decay=0.1),
    "adagrad": lambda p: optim.Adagrad(p, weight_decay=0.1),
    "adadelta": lambda p: optim.Adadelta(p, weight_decay=0.1),
    "adam": lambda p: optim.Adam(p, weight_decay=0.1, fused=True),
    "adamw": lambda p: optim.AdamW(p, weight_decay=0.1, fused=True),
}


@pytest.mark.parametrize("name", TORCH)
def test_optimiser_state_is_that_of_torch(name: str) -> None:
    net = nn.Sequential(nn.Linear(1000, 500), nn.Linear(500, 100))
    weights = list(net.parameters())
    for w in weights:
        w.grad = torch.ones_like(w)
    live = Live(weights, [w.grad for w in weights if w.grad is not None])
    before = live.bytes
    with live:
        update = TORCH[name](weights)
        update.step()
        state = live.peak = live.bytes
        update.step()
    expected, passing = _updating(net, name)
    assert state - before == pytest.approx(expected, abs=100)  # step counters
    assert live.peak - state == pytest.approx(passing, rel=0.01, abs=100)


class Attention(nn.Module):
    """One head over rows of pixels; its matrix of weights, rows x rows, is far larger than anything else."""

    def __init__(self, mask: Tensor | None = None, drop: float = 0) -> None:
        super().__init__()
        self.qkv, self.mask, self.drop = nn.Linear(8, 24), mask, drop

    def forward(self, x: Tensor) -> Tensor:
        q, k, v = self.qkv(x).chunk(3, -1)
        y = F.scaled_dot_product_attention(q, k, v, self.mask, self.drop if self.training else 0)
        return y.mean((1, 2))


def test_fused_attention_never_holds_its_weights() -> None:
    rows, batch = 1024, 4
    matrix = 4 * batch * rows**2
    m = memory(Attention(), (1, rows, 8), batch, "sgd")
    # x, q k v in one, y, one logarithm a row; backward adds the gradients of y and of q, k, v
    kept = 4 * batch * rows * (8 + 24 + 8 + 1)
    assert m.kept == pytest.approx(kept, rel=0.01)
    assert m.training < 3 * kept < matrix / 4
    half = memory(Attention(), (1, rows, 8), batch, "sgd", "bf16")
    assert m.training / 2 < half.training < 1.5 * m.training


@pytest.mark.parametrize("plain", [Attention(drop=0.1), Attention(nn.Parameter(torch.zeros(1024, 1024)))])
def test_attention_that_no_kernel_fuses_holds_them(plain: Attention) -> None:
    """torch spells it out on a CPU where weights are dropped, or where the mask learns."""
    assert memory(plain, (1, 1024, 8), 4, "sgd").kept > 4 * 4 * 1024**2


@pytest.mark.parametrize(("dtype", "size"), [(torch.float16, 2), (torch.bfloat16, 2), (torch.float64, 8)])
def test_weights_of_any_length(dtype: torch.dtype, size: int) -> None:
    m, single = (memory(net, (3, 32, 32), 2, "sgd") for net in (small().to(dtype), small()))
    assert m.weights == single.weights * size // 4
    indices = 2 * 2 * POOL  # int64 whatever the values are
    assert m.kept - indices == pytest.approx((single.kept - indices) * size / 4, rel=0.01)


def test_compiled_networks_need_what_those_beneath_need() -> None:
    compiled = torch.compile(small(), backend="eager")
    assert memory(compiled, (3, 32, 32), 2) == memory(small(), (3, 32, 32), 2)


def test_frozen_weights_need_no_gradient_and_no_state() -> None:
    net = small()
    net[4].requires_grad_(False)
    m = memory(net, (3, 32, 32), optimiser="adam")
    assert (m.gradients, m.optimiser_state) == (4 * 224, 8 * 224)
    assert memory(nn.Flatten(), (3, 8, 8)).kept == 0


def test_largest_batch_is_exact() -> None:
    limit = 50_000_000
    batch = largest_batch(small(), (3, 32, 32), limit, "sgd")
    assert memory(small(), (3, 32, 32), batch, "sgd").training <= limit
    assert memory(small(), (3, 32, 32), batch + 1, "sgd").training > limit
    assert largest_batch(small(), (3, 32, 32), 1000) == 0


def test_savings_are_differences_of_predictions() -> None:
    now = memory(small(), (3, 32, 32), 64, "sgd")
    saved = savings(small(), (3, 32, 32), now)
    assert saved["half the batch"] == now.training - memory(small(), (3, 32, 32), 32, "sgd").training
    assert (
        saved["bf16 instead of fp32"]
        == now.training - memory(small(), (3, 32, 32), 64, "sgd", "bf16").training
    )
    assert saved["twice the first stride"] is None  # the dense layer wants the old size
    pooled = nn.Sequential(nn.Conv2d(3, 8, 3, padding=1), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten())
    now = memory(pooled, (3, 32, 32), 64, "sgd")
    images = 64 * 4 * 3 * 32 * 32
    remedy = savings(pooled, (3, 32, 32), now)["twice the first stride"]
    assert remedy == pytest.approx((now.training - images) * 3 / 4, rel=0.01)


def test_auxiliary_heads_train_too(peer: Callable[[str], nn.Module]) -> None:
    full = peer("inception_v3")
    without = peer("inception_v3")
    without.AuxLogits = None
    kept = [memory(net, (3, 299, 299), 2, "sgd").kept for net in (full, without)]
    assert kept[0] > kept[1]


def test_errors_say_what_to_do() -> None:
    with pytest.raises(UsageError, match="unknown optimiser 'adamm'") as error:
        memory(small(), (3, 32, 32), optimiser="adamm")
    assert error.value.hint == "did you mean adam, adamw or adagrad?"
    with pytest.raises(UsageError, match="unknown precision 'int4'"):
        memory(small(), (3, 32, 32), precision="int4")
    with pytest.raises(
        TraceError, match=r"can't train on \(1, 4, 1, 1\): Expected more than 1 value per channel"
    ):
        memory(nn.BatchNorm2d(4), (4, 1, 1), batch=1)


def test_the_module_stays_untouched() -> None:
    net = small()
    memory(net, (3, 32, 32))
    savings(net, (3, 32, 32), memory(net, (3, 32, 32)))
    assert net.training
    assert net[0].stride == (1, 1)
    assert all(p.grad is None and not p.is_meta for p in net.parameters())


def peak(name: str, batch: int, optimiser: str, precision: str) -> int:
    command = [sys.executable, str(PROGRAM), name, str(batch), optimiser, precision]
    return int(subprocess.run(command, check=True, capture_output=True, text=True).stdout)


# fast: one; slow: three networks x two batch sizes, and one in half precision
MEASURED = [("mnist_cnn", 256, "momentum", "fp32")]
SLOW = [("mnist_cnn", 64, "sgd", "fp32"), ("resnet18", 16, "sgd", "fp32"), ("resnet18", 64, "adamw", "fp32")]
SLOW += [
    ("vgg11", 4, "adamw", "fp32"),
    ("vgg11", 32, "momentum", "fp32"),
    ("mobilenet_v2", 32, "momentum", "fp32"),
]
SLOW += [("mobilenet_v2", 8, "momentum", "fp32"), ("resnet18", 16, "momentum", "bf16")]
# attention, fused and not, windows, relative positions; "none": without gradients
SLOW += [(name, 8, "sgd", "fp32") for name in ("vit_tiny_patch16_224", "swin_t", "maxvit_t", "convnext_tiny")]
SLOW += [("vit_tiny_patch16_224", 16, "none", "fp32"), ("vit_b_32", 8, "none", "fp32")]
SLOW += [("vit_tiny_patch16_224", 8, "adamw", "bf16"), ("levit_128s", 16, "sgd", "fp32")]
SLOW += [("efficientnet_v2_s", 4, "sgd", "fp32"), ("xcit_nano_12_p16_224", 16, "sgd", "fp32")]


@pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="measured through Linux's /proc")
@pytest.mark.parametrize(
    "case", MEASURED + [pytest.param(case, marks=pytest.mark.slow) for case in SLOW], ids=str
)
def test_within_15_per_cent_of_the_measured_peak(case: tuple[str, int, str, str]) -> None:
    name, batch, optimiser, precision = case
    running = optimiser == "none"
    m = memory(
        networks.network(name), networks.shape_of(name), batch, "sgd" if running else optimiser, precision
    )
    predicted = m.inference if running else m.training
    ratio = predicted / peak(name, batch, optimiser, precision)
    print(f"{case}: predicted / measured = {ratio:.3f}")
    assert 0.85 < ratio < 1.15
