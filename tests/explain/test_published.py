"""Heat maps of other people's networks: those of captum and pytorch-grad-cam at the layer chosen, or refused."""

import warnings

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


SMALLER = 224  # divides into their patches and windows
TOO_LARGE = (
    "deepseek",
    "gemma4",
    "legacy_senet154",
    "mobilenetv5",
    "nasnetalarge",
    "pnasnet",
    "qwen3",
    "samvit",
)
SIZES = ("atto", "femto", "pico", "nano", "xxs", "tiny", "xs", "_s", "small", "mini", "18", "50", "")


def smallest(names: list[str]) -> str:
    """The network whose name promises the fewest weights."""
    return min(names, key=lambda n: (next(i for i, word in enumerate(SIZES) if word in n), len(n), n))


def families() -> list[str]:
    """The smallest network of every file of timm's and of torchvision's."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        files = {file: timm.list_models(module=file) for file in timm.list_modules()}
        known = torchvision.list_models(torchvision)
        builders = {name: torchvision.get_model_builder(name).__module__ for name in known}
    found = [
        f"timm.{smallest(n)}"
        for names in files.values()
        if (n := [m for m in names if not m.startswith(TOO_LARGE)])
    ]
    found += [
        f"torchvision.{smallest([name for name in known if builders[name] == file])}"
        for file in dict.fromkeys(builders.values())
    ]
    return sorted(set(found))


def build(name: str) -> nn.Module:
    """`torchvision.name` or `timm.name` with drawn weights, also where a fresh network has zeros."""
    library, name = name.split(".")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of names that are going away, and of slow initial weights
        if library == "timm":
            net = timm.create_model(name, pretrained=False)
        else:
            net = torchvision.get_model(name, weights=None)
    with torch.no_grad():
        for p in net.parameters():
            if p.dim() < 3 and not p.any():
                p.normal_(0, 0.05)
    return net.eval()


def images(net: nn.Module, name: str, n: int = 1) -> torch.Tensor:
    c, h, w = getattr(net, "default_cfg", {}).get("input_size", (3, 224, 224))
    if "inception_v3" in name:
        h = w = 299
    if h > 400:
        h = w = SMALLER
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
    """Grad-CAM of the layer chosen, held against captum's, or pytorch-grad-cam's where captum can't lay out maps.

    Raises UsageError where it is refused.
    """
    net = build(name)
    x = images(net, name)
    maps = choose(net, x, target=1)
    ours = grad_cam(net, x, 1, maps)
    size = float(ours.abs().max())
    assert size > 0
    if maps.layout.dims == (2, 3):
        theirs = captum.LayerGradCam(net, layer_at(net, maps.path)).attribute(x, 1)[:, 0]
    else:
        theirs = peers_map(net, x, maps, 1)
    torch.testing.assert_close(theirs, ours, rtol=1e-3, atol=1e-3 * size)
    return maps


FAST = [
    ("torchvision.resnet18", "layer4"), ("torchvision.mobilenet_v3_small", "features"),
    ("torchvision.squeezenet1_1", "classifier.2"), ("torchvision.shufflenet_v2_x0_5", "conv5"),
    ("timm.convnext_atto", "stages"),
    ("timm.vit_tiny_patch16_224", "blocks.11.norm1"), ("timm.vit_wee_patch16_reg1_gap_256", "blocks"),
    ("timm.mambaout_femto", "stages"), ("timm.levit_128s", "stages"), ("timm.efficientvit_b0", "head.in_conv"),
    ("timm.mixer_s32_224", "norm"), ("timm.mobilevit_xxs", "final_conv"), ("timm.swin_tiny_patch4_window7_224", "norm"),
    ("timm.cait_xxs24_224", "blocks_token_only.1.norm1"),
]  # fmt: skip


@pytest.mark.parametrize(("name", "layer"), FAST)
def test_grad_cam_is_that_of_the_peers(name, layer):
    assert compared(name).path == layer


def test_gradients_are_those_of_captum(plain):
    plain.eval()
    x = torch.randn(2, 3, 12, 10)
    leaf = x.clone().requires_grad_()
    theirs = captum.Saliency(plain).attribute(leaf, 1, abs=False)
    torch.testing.assert_close(saliency(plain, x, 1), theirs.detach())
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that it sets hooks
        theirs = captum.GuidedBackprop(plain).attribute(leaf, 1)
    torch.testing.assert_close(guided_backprop(plain, x, 1), theirs.detach())
    theirs = captum.IntegratedGradients(plain).attribute(x, 0.0, 1, n_steps=540, method="riemann_middle")
    ours = integrated_gradients(plain, x, 1, tolerance=0)
    torch.testing.assert_close(ours, theirs.float(), rtol=1e-3, atol=1e-4)


@pytest.mark.slow
@pytest.mark.parametrize("name", families())
def test_every_family(name):
    if name.startswith("timm.tnt_s") and "legacy" not in name:  # it convolves each patch by itself
        with pytest.raises(UsageError, match="where its values belong in the image can't be followed"):
            compared(name)
    else:
        compared(name)
