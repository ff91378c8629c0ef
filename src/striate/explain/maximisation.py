"""The image that a class or a channel likes best, found by climbing its score.

The image is a spectrum with energy 1/f and the colours of photographs, shifted a little at every step: without these
a network is pleased by noise that no eye can read. Olah et al., "Feature visualization", Distill 2017.
"""

from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from striate.errors import StriateError, UsageError
from striate.explain.layers import layout_at
from striate.explain.places import Layout
from striate.explain.probe import asked, hooked, logits_of, scores_of, slope, targets_of

# brightness, blue against yellow, green against purple: how the three channels of photographs go together
COLOUR = torch.tensor([[0.26, 0.09, 0.02], [0.27, 0.0, -0.05], [0.27, -0.09, 0.03]]) / 0.27


def maximise(
    module: nn.Module,
    shape: tuple[int, int, int],
    wanted: Sequence[int],
    layer: str | None = None,
    steps: int = 200,
    rate: float = 0.05,
    variation: float = 1.0,
    jitter: int | None = None,
    low: Tensor | float = -2.0,
    high: Tensor | float = 2.0,
    seed: int = 0,
) -> Tensor:
    """One normalised image for each of the classes `wanted`, or of the channels of a layer.    -> (n, *shape)

    `variation` weighs the mean difference of neighbouring pixels against the score, `jitter` is the furthest shift in
    px, by default a sixteenth of the side; pixels stay between `low` and `high`, numbers or (c, 1, 1).
    """
    if not wanted or steps < 1:
        raise UsageError(f"{len(wanted)} images in {steps} steps: expected at least one of each")
    generator = torch.Generator().manual_seed(seed)
    far = max(1, min(shape[1:]) // 16) if jitter is None else jitter
    with asked(module) as net:
        like = next(net.parameters(), torch.empty(0))
        layout = None if layer is None else layout_at(net, torch.zeros(1, *shape), layer)
        spectrum = _noise(len(wanted), shape, generator).to(like.device).requires_grad_()
        optimiser = torch.optim.Adam([spectrum], lr=rate)
        for _ in range(steps):
            x = low + (high - low) * _image(spectrum, shape)
            dy, dx = torch.randint(-far, far + 1, (2,), generator=generator).tolist()
            liking = _liking(net, x.roll((dy, dx), (2, 3)).to(like.dtype), wanted, layer, layout)
            roughness = variation * _variation(x) * len(wanted)
            spectrum.grad = (
                slope(-liking.sum(), spectrum, keep=True) + torch.autograd.grad(roughness, spectrum)[0]
            )
            if not spectrum.grad.isfinite().all():
                raise StriateError("the climb has left the numbers", "try a lower rate")
            optimiser.step()
        return (low + (high - low) * _image(spectrum, shape)).detach()


def _noise(n: int, shape: tuple[int, int, int], generator: torch.Generator) -> Tensor:
    c, h, w = shape
    return 0.01 * torch.randn(n, c, h, w // 2 + 1, 2, generator=generator)


def _image(spectrum: Tensor, shape: tuple[int, int, int]) -> Tensor:
    """Values of 0 to 1.    (n, c, h, w // 2 + 1, 2) -> (n, c, h, w)"""
    h, w = shape[1:]
    rows, columns = torch.fft.fftfreq(h), torch.fft.rfftfreq(w)
    frequency = (rows[:, None] ** 2 + columns[None] ** 2).sqrt().to(spectrum.device)
    scale = (h * w) ** 0.5 / frequency.clamp(min=1 / max(h, w))
    waves = torch.fft.irfft2(torch.view_as_complex(spectrum) * scale, s=(h, w)) / 4
    if shape[0] == 3:
        waves = torch.einsum("dc,nchw->ndhw", COLOUR.to(waves), waves)
    return waves.sigmoid()


def _liking(
    net: nn.Module,
    x: Tensor,
    wanted: Sequence[int],
    layer: str | None,
    layout: Layout | None,
) -> Tensor:
    """The score of each image's class, or the mean of its channel.    -> (n,)"""
    if layer is None or layout is None:
        logits = logits_of(net, x)
        return scores_of(logits, targets_of(logits, list(wanted)))
    kept: dict[str, Any] = {}

    def keep(path: str, output: Tensor) -> Tensor:
        kept[path] = output
        return output.clone()

    with hooked(net, [layer], keep):
        logits_of(net, x)
    output = layout.maps(kept[layer]).mean((2, 3))  # (n, c)
    if not 0 <= min(wanted) <= max(wanted) < output.shape[1]:
        raise UsageError(f"layer {layer} has channels 0 to {output.shape[1] - 1}, got {list(wanted)}")
    return output[torch.arange(len(x)), list(wanted)]


def _variation(x: Tensor) -> Tensor:
    """Mean absolute difference of neighbours: a photograph has little, noise has much."""
    return F.l1_loss(x[..., 1:, :], x[..., :-1, :]) + F.l1_loss(x[..., 1:], x[..., :-1])
