"""See inside a network: any classification nn.Module, no layer needs naming, nothing is left behind.

The modules `filters`, `health` and `kernels` hold the functions of their names and what goes with them.
"""

from typing import TYPE_CHECKING

from striate.lazy import lazy

if TYPE_CHECKING:
    from striate.explain.attribution import METHODS as METHODS
    from striate.explain.attribution import Attribution as Attribution
    from striate.explain.attribution import attribute as attribute
    from striate.explain.cam import grad_cam as grad_cam
    from striate.explain.cam import grad_cam_pp as grad_cam_pp
    from striate.explain.cam import layer_cam as layer_cam
    from striate.explain.cam import score_cam as score_cam
    from striate.explain.deconvnet import evidence as evidence
    from striate.explain.deconvnet import project as project
    from striate.explain.deconvnet import strongest as strongest
    from striate.explain.embedding import embed as embed
    from striate.explain.embedding import neighbours as neighbours
    from striate.explain.embedding import plane as plane
    from striate.explain.embedding import scatter as scatter
    from striate.explain.filters import features as features
    from striate.explain.gradients import guided_backprop as guided_backprop
    from striate.explain.gradients import integrated_gradients as integrated_gradients
    from striate.explain.gradients import saliency as saliency
    from striate.explain.gradients import smoothgrad as smoothgrad
    from striate.explain.health_chart import gradient_chart as gradient_chart
    from striate.explain.layers import last_maps as last_maps
    from striate.explain.layers import map_layers as map_layers
    from striate.explain.layers import stage_layers as stage_layers
    from striate.explain.maximisation import maximise as maximise
    from striate.explain.occlude import occlusion as occlusion
    from striate.explain.subject import Subject as Subject
    from striate.explain.subject import View as View
    from striate.explain.view import look as look
    from striate.explain.view import save as save

_HOME = {  # public name -> module; looked up when used
    "Attribution": "attribution", "METHODS": "attribution", "attribute": "attribution",
    "grad_cam": "cam", "grad_cam_pp": "cam", "layer_cam": "cam", "score_cam": "cam",
    "evidence": "deconvnet", "project": "deconvnet", "strongest": "deconvnet",
    "embed": "embedding", "neighbours": "embedding", "plane": "embedding", "scatter": "embedding",
    "features": "filters",
    "guided_backprop": "gradients", "integrated_gradients": "gradients",
    "saliency": "gradients", "smoothgrad": "gradients",
    "gradient_chart": "health_chart",
    "last_maps": "layers", "map_layers": "layers", "stage_layers": "layers",
    "maximise": "maximisation",
    "occlusion": "occlude",
    "Subject": "subject", "View": "subject",
    "look": "view", "save": "view",
}  # fmt: skip
__all__ = sorted(_HOME)
__getattr__ = lazy(__name__, _HOME)
