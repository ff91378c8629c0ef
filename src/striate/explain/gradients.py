"""Which pixels move the score: gradients with respect to the image, plain, averaged and accumulated.

All functions: normalised images (n, c, h, w) -> signed attributions (n, c, h, w).
"""

import torch
from torch import Tensor, nn

from striate.errors import UsageError
from striate.explain.probe import (
    Target,
    asked,
    each,
    images_of,
    logits_of,
    predict,
    scores_of,
    slope,
    targets_of,
)
from striate.explain.rectify import Clipped

CHUNK = 16  # images a backward pass


def saliency(module: nn.Module, x: Tensor, target: Target = None) -> Tensor:
    """d score / d x.  Simonyan et al., 2014, arXiv:1312.6034, section 3."""
    with asked(module) as net:
        return _gradient(net, images_of(net, x), target)


def guided_backprop(module: nn.Module, x: Tensor, target: Target = None) -> Tensor:
    """d score / d x where every rectifier passes back only what is positive.

    Springenberg et al., 2015, arXiv:1412.6806, section 3.4.
    """
    with asked(module) as net, Clipped(net):
        return _gradient(net, images_of(net, x), target)


def smoothgrad(
    module: nn.Module,
    x: Tensor,
    target: Target = None,
    samples: int = 25,
    noise: float = 0.15,
    seed: int = 0,
) -> Tensor:
    """Mean of d score / d x over copies of x with noise N(0, (noise * (max - min))^2).

    Smilkov et al., 2017, arXiv:1706.03825, section 3.
    """
    if samples < 1 or noise < 0:
        raise UsageError(f"{samples} samples with noise {noise}: expected at least 1, and 0 or more")
    with asked(module) as net:
        x = images_of(net, x)
        _, targets = predict(net, x, target)
        spread = noise * (x.amax((1, 2, 3)) - x.amin((1, 2, 3)))
        generator = torch.Generator().manual_seed(seed)
        total = torch.zeros_like(x)
        for _ in range(samples):
            shift = torch.randn(x.shape, generator=generator).to(x)
            total += _gradient(net, x + spread.view(-1, 1, 1, 1) * shift, targets)
        return total / samples


def integrated_gradients(
    module: nn.Module,
    x: Tensor,
    target: Target = None,
    baseline: Tensor | float = 0.0,
    tolerance: float = 0.01,
    most_steps: int = 540,
) -> Tensor:
    """(x - baseline) * integral of d score / d x from the baseline to x.

    They sum to score(x) - score(baseline): steps are tripled until this holds within `tolerance`. The baseline
    0 is the mean image of a data set. Sundararajan et al., 2017, arXiv:1703.01365, section 3.
    """
    with asked(module) as net:
        x = images_of(net, x)
        ground = torch.as_tensor(baseline, dtype=x.dtype, device=x.device).expand_as(x)
        after, targets = predict(net, x, target)
        before, _ = predict(net, ground, targets)
        return torch.cat(
            [
                _path(net, x[i], ground[i], targets[i], float(after[i] - before[i]), tolerance, most_steps)
                for i in range(len(x))
            ]
        )


def _path(
    net: nn.Module, x: Tensor, ground: Tensor, target: Tensor, wanted: float, tolerance: float, most: int
) -> Tensor:
    """The integral for one image by the midpoint rule.    (c, h, w) -> (1, c, h, w)"""
    steps, total = 20, torch.zeros_like(x)
    places = torch.arange(steps)
    while True:
        for part in ((places + 0.5) / steps).split(CHUNK):
            between = ground + part.to(x).view(-1, 1, 1, 1) * (x - ground)
            total += _gradient(net, between, target.expand(len(part))).sum(0)
        found = (x - ground) * total / steps
        if abs(float(found.sum()) - wanted) <= tolerance * abs(wanted) or 3 * steps > most:
            return found[None]
        steps *= 3
        places = torch.arange(steps)
        places = places[places % 3 != 1]  # the middles of the old steps are middles of new ones


def _gradient(net: nn.Module, x: Tensor, target: Target) -> Tensor:
    """d score / d x, a chunk at a time; `net` is being asked."""
    wanted, parts = each(target, len(x)), []
    for i in range(0, len(x), CHUNK):
        leaf = x[i : i + CHUNK].detach().requires_grad_()
        logits = logits_of(net, leaf.clone())  # a first layer may write into its input
        targets = targets_of(logits, None if wanted is None else wanted[i : i + CHUNK])
        parts.append(slope(scores_of(logits, targets).sum(), leaf))
    return torch.cat(parts)
