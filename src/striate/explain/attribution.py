"""Where in an image the evidence for a class is: every method by its name, one answer for all."""

import inspect
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn

from striate.errors import UsageError, nearest
from striate.explain.cam import grad_cam, grad_cam_pp, layer_cam, score_cam
from striate.explain.gradients import guided_backprop, integrated_gradients, saliency, smoothgrad
from striate.explain.layers import choose
from striate.explain.occlude import occlusion
from striate.explain.probe import Target, asked, images_of, predict


@dataclass(frozen=True)
class Method:
    """`unit` is that of the heat shown; a method of a layer can be told which."""

    run: Callable[..., Tensor]
    unit: str
    of_layer: bool = False


METHODS = {
    "grad-cam": Method(grad_cam, "activation x slope of the logit", of_layer=True),
    "grad-cam++": Method(grad_cam_pp, "activation x weighted slope", of_layer=True),
    "layer-cam": Method(layer_cam, "activation x slope at each place", of_layer=True),
    "score-cam": Method(score_cam, "activation x share of the score", of_layer=True),
    "saliency": Method(saliency, "|slope| of the logit"),
    "smoothgrad": Method(smoothgrad, "|mean slope| of the logit"),
    "guided-backprop": Method(guided_backprop, "|guided slope| of the logit"),
    "integrated-gradients": Method(integrated_gradients, "|logits| owed to the pixel"),
    "occlusion": Method(occlusion, "logits lost when covered"),
}


@dataclass(frozen=True)
class Attribution:
    """What a method found: `raw` as its paper defines it, `heat` (n, h, w) >= 0 to lay over the images."""

    method: str
    layer: str | None
    targets: Tensor
    raw: Tensor
    heat: Tensor

    @property
    def unit(self) -> str:
        """What one unit of heat is."""
        return METHODS[self.method].unit

    def arrays(self, i: int) -> dict[str, NDArray[np.float32]]:
        """Raw values and heat of image i."""
        return {"raw": self.raw[i].float().cpu().numpy(), "heat": self.heat[i].float().cpu().numpy()}


def attribute(
    module: nn.Module,
    x: Tensor,
    method: str = "grad-cam",
    target: Target = None,
    layer: str | None = None,
    **options: Any,
) -> Attribution:
    """Explain the score of `target`, by default the predicted class, for normalised images (n, c, h, w).

    `options` are those of the method's function.
    """
    chosen = method_called(method)
    if layer is not None and not chosen.of_layer:
        of_layer = ", ".join(name for name, m in METHODS.items() if m.of_layer)
        raise UsageError(f"{method} looks at the image, not at a layer", f"a layer goes with {of_layer}")
    known = set(inspect.signature(chosen.run).parameters) - {"module", "x", "target", "layer"}
    for option in sorted(options.keys() - known):
        raise UsageError(f"{method} has no option {option!r}", nearest(option, known))
    with asked(module) as net:
        images = images_of(net, x)
        _, targets = predict(net, images, target)
    if chosen.of_layer:
        options["layer"] = where = choose(module, x, layer, targets)
        layer = layer or where.path
    raw = chosen.run(module, x, targets, **options).detach()
    return Attribution(method, layer, targets, raw, _heat(raw, images))


def method_called(name: str) -> Method:
    """The method; raises UsageError with the nearest names."""
    if name not in METHODS:
        raise UsageError(f"unknown method {name!r}", nearest(name, METHODS) or f"one of {', '.join(METHODS)}")
    return METHODS[name]


def _heat(raw: Tensor, images: Tensor) -> Tensor:
    """Maps: what speaks for the class, at the size of the image. Pixels: how much, whichever way.  -> (n, h, w)"""
    if raw.dim() == 4:
        return raw.abs().amax(1)
    return F.interpolate(raw.relu()[:, None], images.shape[2:], mode="bilinear")[:, 0]
