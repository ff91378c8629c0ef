"""What the score loses when a patch of the image is covered.  Zeiler and Fergus, 2014, arXiv:1311.2901, section 4.2."""

import torch
from torch import Tensor, nn

from striate.errors import UsageError
from striate.explain.probe import Target, asked, images_of, logits_of, predict, scores_of

CHUNK = 64  # covered images a forward pass


def occlusion(
    module: nn.Module,
    x: Tensor,
    target: Target = None,
    patch: int | None = None,
    stride: int | None = None,
    fill: float = 0.0,
) -> Tensor:
    """Score of the image - score with a square covered, at each pixel the mean over the squares that cover it.

    (n, c, h, w) -> (n, h, w). `patch` px a side is by default a fifth of the shorter side, `stride` a third of
    a patch; `fill` 0 is the mean image of a data set. The last squares end at the border.
    """
    with asked(module) as net:
        x = images_of(net, x)
        h, w = x.shape[2:]
        side = max(1, min(h, w) // 5) if patch is None else patch
        step = max(1, side // 3) if stride is None else stride
        if not 1 <= side <= min(h, w) or step < 1:
            raise UsageError(f"patch {side}, stride {step}: expected 1 to {min(h, w)} px, and at least 1 px")
        whole, targets = predict(net, x, target)
        corners = [(top, left) for top in _starts(h, side, step) for left in _starts(w, side, step)]
        rows = zip(x, targets, whole, strict=True)
        return torch.stack([_one(net, image, t, s, corners, side, fill) for image, t, s in rows])


def _starts(length: int, side: int, step: int) -> list[int]:
    return sorted({*range(0, length - side, step), length - side})


def _one(
    net: nn.Module,
    image: Tensor,
    target: Tensor,
    whole: Tensor,
    corners: list[tuple[int, int]],
    side: int,
    fill: float,
) -> Tensor:
    """(c, h, w) -> (h, w)"""
    lost, times = torch.zeros_like(image[0]), torch.zeros_like(image[0])
    for i in range(0, len(corners), CHUNK):
        part = corners[i : i + CHUNK]
        covered = image.repeat(len(part), 1, 1, 1)
        for one, (top, left) in zip(covered, part, strict=True):
            one[:, top : top + side, left : left + side] = fill
        with torch.no_grad():
            drops = whole - scores_of(logits_of(net, covered), target.expand(len(part)))
        for drop, (top, left) in zip(drops, part, strict=True):
            lost[top : top + side, left : left + side] += drop
            times[top : top + side, left : left + side] += 1
    return lost / times.clamp(min=1)
