"""Class activation maps: the channels of a late layer, weighted by what they do for a class.

All functions: normalised images (n, c, h, w) -> signed maps (n, h', w') of the layer's size. `layer` is by default
the last one that still knows where things are; tokens and maps with channels last are laid out as maps.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from striate.explain.layers import Maps, choose
from striate.explain.probe import Target, asked, capture, images_of, logits_of, scores_of, targets_of

Layer = str | Maps | None
CHUNK = 32  # masked images a forward pass


def grad_cam(module: nn.Module, x: Tensor, target: Target = None, layer: Layer = None) -> Tensor:
    """sum_k mean(d score / d A_k) A_k.  Selvaraju et al., 2017, arXiv:1610.02391, eq. 1 and 2 before its ReLU."""
    maps, slopes = _maps_and_slopes(module, x, target, layer)
    return (slopes.mean((2, 3), keepdim=True) * maps).sum(1)


def grad_cam_pp(module: nn.Module, x: Tensor, target: Target = None, layer: Layer = None) -> Tensor:
    """Grad-CAM whose mean over a map is weighted: sum_k (sum_ij a relu(d score / d A_k)) A_k.

    a = g^2 / (2 g^2 + sum(A) g^3).  Chattopadhay et al., 2018, arXiv:1710.11063, eq. 19.
    """
    maps, slopes = _maps_and_slopes(module, x, target, layer)
    below = 2 * slopes**2 + maps.sum((2, 3), keepdim=True) * slopes**3
    share = torch.where(below != 0, slopes**2 / torch.where(below != 0, below, 1), 0)
    return ((share * slopes.relu()).sum((2, 3), keepdim=True) * maps).sum(1)


def layer_cam(module: nn.Module, x: Tensor, target: Target = None, layer: Layer = None) -> Tensor:
    """sum_k relu(d score / d A_k) A_k, a weight for every place.  Jiang et al., 2021, IEEE TIP 30, eq. 6 and 7."""
    maps, slopes = _maps_and_slopes(module, x, target, layer)
    return (slopes.relu() * maps).sum(1)


def score_cam(module: nn.Module, x: Tensor, target: Target = None, layer: Layer = None) -> Tensor:
    """sum_k w_k A_k with w = softmax_k(score of x seen through A_k alone - score of nothing); no gradient.

    Nothing is the zero image. Wang et al., 2020, arXiv:1910.01279, algorithm 1.
    """
    where = layer if isinstance(layer, Maps) else choose(module, x, layer, target)
    with asked(module) as net:
        x = images_of(net, x)
        captured = capture(net, x, where.path)
        maps = where.layout.maps(captured.output.detach())
        targets = targets_of(captured.logits.detach(), target)
        rows = [_seen_through(net, image, m, t) for image, m, t in zip(x, maps, targets, strict=True)]
    return (torch.stack(rows).softmax(1)[:, :, None, None] * maps).sum(1)


def _seen_through(net: nn.Module, image: Tensor, maps: Tensor, target: Tensor) -> Tensor:
    """The gain of one image's score for the mask of each of its maps.    (c, h, w), (k, h', w') -> (k,)"""
    with torch.no_grad():
        nothing = scores_of(logits_of(net, torch.zeros_like(image[None])), target.view(1))
        seen = [logits_of(net, image * _masks(part, image)) for part in maps.split(CHUNK)]
    return scores_of(torch.cat(seen), target.expand(len(maps))) - nothing


def _masks(maps: Tensor, image: Tensor) -> Tensor:
    """Maps as large as the image, each stretched to 0..1.    (k, h', w'), (c, h, w) -> (k, 1, h, w)"""
    masks = F.interpolate(maps[:, None], image.shape[1:], mode="bilinear")
    low, high = masks.amin((2, 3), keepdim=True), masks.amax((2, 3), keepdim=True)
    return (masks - low) / (high - low).clamp(min=torch.finfo(masks.dtype).tiny)


def _maps_and_slopes(module: nn.Module, x: Tensor, target: Target, layer: Layer) -> tuple[Tensor, Tensor]:
    """A and d score / d A, both (n, c, h', w')."""
    where = layer if isinstance(layer, Maps) else choose(module, x, layer, target)
    with asked(module) as net:
        captured = capture(net, images_of(net, x), where.path)
        targets = targets_of(captured.logits.detach(), target)
        slopes = captured.gradient(targets)
    return where.layout.maps(captured.output.detach()), where.layout.maps(slopes)
