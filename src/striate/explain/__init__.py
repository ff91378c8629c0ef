"""See inside a network: any classification nn.Module, no layer needs naming, nothing is left behind."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from striate.explain.attribution import METHODS as METHODS
    from striate.explain.attribution import Attribution as Attribution
    from striate.explain.attribution import attribute as attribute
    from striate.explain.cam import grad_cam as grad_cam
    from striate.explain.cam import grad_cam_pp as grad_cam_pp
    from striate.explain.cam import layer_cam as layer_cam
    from striate.explain.cam import score_cam as score_cam
    from striate.explain.gradients import guided_backprop as guided_backprop
    from striate.explain.gradients import integrated_gradients as integrated_gradients
    from striate.explain.gradients import saliency as saliency
    from striate.explain.gradients import smoothgrad as smoothgrad
    from striate.explain.layers import last_maps as last_maps
    from striate.explain.layers import map_layers as map_layers
    from striate.explain.layers import stage_layers as stage_layers
    from striate.explain.occlude import occlusion as occlusion

_HOME = {  # public name -> module; looked up when used
    "METHODS": "attribution", "Attribution": "attribution", "attribute": "attribution",
    "grad_cam": "cam", "grad_cam_pp": "cam", "layer_cam": "cam", "score_cam": "cam",
    "guided_backprop": "gradients", "integrated_gradients": "gradients",
    "saliency": "gradients", "smoothgrad": "gradients",
    "occlusion": "occlude",
    "last_maps": "layers", "map_layers": "layers", "stage_layers": "layers",
}  # fmt: skip
__all__ = sorted(_HOME)


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'striate.explain' has no attribute {name!r}")
    return getattr(import_module(f"striate.explain.{_HOME[name]}"), name)
