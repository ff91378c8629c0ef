"""Heat maps of other people's networks: those of captum and pytorch-grad-cam at the layer chosen, or refused."""

import re
import warnings
from collections import defaultdict

import pytest
import torch
from torch import nn

from striate.errors import UsageError
from striate.explain import grad_cam, guided_backprop, integrated_gradients, saliency
from striate.explain.layers import Maps, choose
from striate.explain.probe import layer_at

timm = pytest.importorskip("timm")
torchvision = pytest.importorskip("torchvision.models")
captum = pytest.importorskip("captum.attr")
pytorch_grad_cam = pytest.importorskip("pytorch_grad_cam")


def build(name: str) -> nn.Module:
    """`torchvision.name` or `timm.name` with drawn weights, the last layer's and the layer scales' too."""
    library, name = name.split(".")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of names that are going away
        if library == "timm":
            net = timm.create_model(name, pretrained=False)
        else:
            net = torchvision.get_model(
                name,
                weights=None,
                **(
                    {"init_weights": False} if "net" in name and name in ("googlenet", "inception_v3") else {}
                ),
            )
    with torch.no_grad():
        for p in net.parameters():
            if p.dim() < 3 and not p.any():
                p.normal_(0, 0.05)
    return net.eval()


def images(net: nn.Module, name: str, n: int = 1) -> torch.Tensor:
    c, h, w = getattr(net, "default_cfg", {}).get("input_size", (3, 224, 224))
    if name.startswith("torchvision."):
        h = w = 299 if "inception" in name else 224
    return torch.randn(n, c, h, w, generator=torch.Generator().manual_seed(0))


def by_hand(maps: Maps):
    """What pytorch-grad-cam asks its users for: (n, c, h, w) stays, channels go first, class tokens go."""
    c, h, w = maps.shape

    def transform(t):
        if t.dim() == 4:
            return t if tuple(t.shape[1:]) == (c, h, w) else t.permute(0, 3, 1, 2)
        return t[:, t.shape[1] - h * w :].transpose(1, 2).reshape(len(t), c, h, w)

    return transform


def peers_map(net: nn.Module, x: torch.Tensor, maps: Maps, target: int) -> torch.Tensor:
    """pytorch-grad-cam's before it is clipped at 0, scaled and enlarged.    -> (n, h, w)"""
    layer = layer_at(net, maps.path)
    goal = [pytorch_grad_cam.utils.model_targets.ClassifierOutputTarget(target)] * len(x)
    with pytorch_grad_cam.GradCAM(net, [layer], by_hand(maps)) as peer:
        peer(x, goal)
        kept = peer.activations_and_grads
        a, g = (t[0].numpy() for t in (kept.activations, kept.gradients))
        return torch.from_numpy(peer.get_cam_image(x, layer, goal, a, g))


def compared(name: str) -> Maps:
    """Grad-CAM of the layer chosen, held against both peers; raises UsageError where it is refused."""
    net = build(name)
    x = images(net, name)
    maps = choose(net, x, target=1)
    ours = grad_cam(net, x, 1, maps)
    size = float(ours.abs().max())
    assert size > 0
    torch.testing.assert_close(peers_map(net, x, maps, 1), ours, rtol=1e-3, atol=1e-3 * size)
    if by_hand(maps)(torch.empty(1, *maps.shape)) is not None and maps.layout.dims == (2, 3):
        theirs = captum.LayerGradCam(net, layer_at(net, maps.path)).attribute(x, 1)[:, 0]
        torch.testing.assert_close(theirs, ours, rtol=1e-3, atol=1e-3 * size)
    return maps
