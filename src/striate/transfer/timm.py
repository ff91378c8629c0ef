"""Weights between our networks and timm's."""

import re
from collections.abc import Callable, Collection, Mapping

from torch import Tensor, nn

from striate.transfer.names import Rules, apply, choose, groups
from striate.transfer.state import keys, layers_of, load_state
from striate.transfer.torchvision import AUXILIARY, DENSENET, INCEPTION_V3, RESNET, today

REPEATS = {"5": "repeat", "6": "repeat_1", "7": "repeat_2"}


def inception_resnet(match: re.Match[str], _: int) -> str:
    """`stages.mixed6.blocks.3.towers.1.2.bn` is `repeat_1.3.branch1.2.bn`; the tenth block8 stands alone."""
    stage, block, layer = match.groups()
    where = "block8" if (stage, block) == ("7", "9") else f"{REPEATS[stage]}.{block}"
    return f"{where}.{'conv2d' if layer == 'up' else layer.replace('towers.', 'branch')}"


def xception(match: re.Match[str], _: int) -> str:
    """`stages.entry.1.0.separable2.depthwise` is `block2.rep.4.conv1`, three steps for each separable."""
    flow, block, side, layer = match.groups()
    number = 12 if flow == "exit" else int(block) + (1 if flow == "entry" else 4)
    if side == "1":
        return f"block{number}.{'skip' if layer == 'conv' else 'skipbn'}"
    layer, i, part = groups(r"(\D+)(\d)(.*)", layer)
    step = 3 * int(i) - (2 if layer == "separable" else 1) - (number == 1)  # block 1 has no ReLU in front
    return f"block{number}.rep.{step}{part.replace('depthwise', 'conv1')}"


CELL = (
    (r"current\.(\w+)", r"conv_1x1.\1"),
    (r"previous\.paths\.0", "path_1.conv"),
    (r"previous\.paths\.1\.conv", "path_2.conv"),
    (r"previous\.(\w+)", r"conv_prev_1x1.\1"),
    (r"blocks\.(\d)\.(\w+)\.separable(\d)\.(\w+)", r"comb_iter_\1_\2.separable_\3.\4_conv2d"),
    (r"blocks\.(\d)\.(\w+)\.bn(\d)", r"comb_iter_\1_\2.bn_sep_\3"),
)


def nas_cell(match: re.Match[str], block: int) -> str:
    """`stages.cells2.3.current.bn` is `cell_8.conv_1x1.bn`; reduction cells have a count of their own."""
    stage, i, layer = int(match[1]), int(match[2]), match[3]
    reduces = stage > 1 and i == 0
    where = f"reduction_cell_{stage - 2}" if reduces else f"cell_{block - stage + 1}"
    if layer == "previous.bn" and i == (stage > 1):  # after a reduction the cell before is twice as large
        return f"{where}.final_path_bn"
    return f"{where}.{apply(CELL, layer)}"


def preactivation(match: re.Match[str], _: int) -> str:
    """`stages.conv2.0.body.bn1` is `stages.0.blocks.0.norm2`, as the norm in front is the first there."""
    stage, block, layer = match.groups()
    name = layer.removeprefix("body.")
    if name.startswith("bn"):
        name = f"norm{int(name[2:] or 0) + 1}"
    return f"stages.{int(stage) - 2}.blocks.{block}.{'downsample.conv' if name == 'shortcut' else name}"


def mobile(match: re.Match[str], block: int) -> str:
    """`stages.stage2.1.body.1.conv` is `blocks.1.1.conv_dw`."""
    stage, i, step, layer = int(match[1]), match[2], int(match[3]), match[4]
    name = f"bn{step + 1}"
    if layer == "conv":
        name = (("conv_dw", "conv_pw") if block == 0 else ("conv_pw", "conv_dw", "conv_pwl"))[step]
    return f"blocks.{stage - 1}.{i}.{name}"


def squeeze(name: str) -> Callable[[re.Match[str], int], str]:
    """`stages.conv2.0.body.se.squeeze` is `layer1.0.se.fc1`, or whatever the block is called."""

    def rule(match: re.Match[str], _: int) -> str:
        return f"layer{int(match[1]) - 1}.{match[2]}.{name}.fc{('squeeze', 'excite').index(match[3]) + 1}"

    return rule


MOBILE_ENDS: Rules = (
    (r"stem\.conv", "conv_stem"),
    (r"stem\.bn", "bn1"),
    (r"stages\.end\.conv", "conv_head"),
    (r"stages\.end\.bn", "bn2"),
    (r"head\.fc", "classifier"),
)
FAMILIES: dict[str, Rules] = {
    "resnet": (*RESNET, (r"stages\.conv(\d)\.(\d+)\.body\.se\.(\w+)", squeeze("se"))),
    "legacy_senet": (
        (r"stem\.(\w+)", r"layer0.\1"),
        *RESNET[1:2],
        (r"stages\.conv(\d)\.(\d+)\.body\.se\.(\w+)", squeeze("se_module")),
        (r"head\.fc", "last_linear"),
    ),
    "resnetv2": (
        (r"stem\.conv1", "stem.conv"),
        (r"stages\.conv(\d)\.(\d+)\.(bn|body\.\w+|shortcut)", preactivation),
        (r"stages\.end\.bn", "norm"),
        (r"head\.fc", "head.fc"),
    ),
    "vgg": (
        (r"stages\.conv\d\.(conv|bn)\d", lambda _, block: f"features.{block}"),
        (r"head\.fc6\.fc", "pre_logits.fc1"),
        (r"head\.fc7\.fc", "pre_logits.fc2"),
        (r"head\.fc8", "head.fc"),
    ),
    "densenet": DENSENET,
    "inception_v3": INCEPTION_V3,
    "inception_resnet_v2": (
        (r"stem\.conv(\d\w)\.(\w+)", r"conv2d_\1.\2"),
        (r"stages\.mixed(\d)\.blocks\.(\d+)\.(.+)", inception_resnet),
        (r"stages\.mixed7\.conv7b\.(\w+)", r"conv2d_7b.\1"),
        (r"stages\.mixed(\d)\.(\w)\.(.+)", r"mixed_\1\2.branch\3"),
        (r"head\.fc", "classif"),
    ),
    "xception": (
        (r"stem\.(\w+)", r"\1"),
        (r"stages\.(entry|middle)\.(\d)\.(\d)\.(.+)", xception),
        (r"stages\.(exit)\.(block)\.(\d)\.(.+)", xception),
        (r"stages\.exit\.separable(\d)\.separable\.depthwise", lambda m, _: f"conv{int(m[1]) + 2}.conv1"),
        (r"stages\.exit\.separable(\d)\.separable\.pointwise", lambda m, _: f"conv{int(m[1]) + 2}.pointwise"),
        (r"stages\.exit\.separable(\d)\.bn", lambda m, _: f"bn{int(m[1]) + 2}"),
        (r"head\.fc", "fc"),
    ),
    "nasnet": (
        (r"stem\.(conv|bn)", r"conv0.\1"),
        (r"stem\.cell2\.previous\.bn", "cell_stem_1.final_path_bn"),
        (r"stem\.cell(\d)\.(.+)", lambda m, _: f"cell_stem_{int(m[1]) - 1}.{apply(CELL, m[2])}"),
        (r"stages\.cells(\d)\.(\d+)\.(.+)", nas_cell),
        (r"head\.fc", "last_linear"),
    ),
    "mobilenet_v1": (
        (
            r"stages\.stage(\d)\.(\d)\.(depth|point)wise\.conv",
            lambda m, _: f"blocks.{int(m[1]) - 1}.{m[2]}.conv_{m[3][0]}w",
        ),
        (
            r"stages\.stage(\d)\.(\d)\.(depth|point)wise\.bn",
            lambda m, _: f"blocks.{int(m[1]) - 1}.{m[2]}.bn{('depth', 'point').index(m[3]) + 1}",
        ),
        *MOBILE_ENDS,
    ),
    "mobilenet_v2": ((r"stages\.stage(\d)\.(\d)\.body\.(\d)\.(conv|bn)", mobile), *MOBILE_ENDS),
}
UNLIKE = ("seresnet18", "seresnet34")  # timm's gates are 8 wide at least, and its legacy ones rectify before
CONVOLUTIONS = (  # weights that are dense here, convolutions there: (our name, timm's), side of the kernel
    (r".*, .*\.(se|se_module)\.fc\d\.weight", 1),
    (r".*, pre_logits\.fc1\.weight", 7),
    (r".*, pre_logits\.fc2\.weight", 1),
    (r"head\.fc\.weight, head\.fc\.weight", 1),
)


def load_timm(module: nn.Module, state: Mapping[str, Tensor], blank: Collection[str] = ()) -> None:
    """Copy a timm state dict into the same network of ours; heads for training only are optional."""
    state = today(state)
    _, names = choose(module, FAMILIES, "timm", layers_of(state))
    load_state(module, names, state, "timm", AUXILIARY, blank)


def to_timm(module: nn.Module, like: Mapping[str, Tensor] | None = None) -> dict[str, Tensor]:
    """The state dict that timm's network takes; `like` is one of it, where timm has two (`legacy_seresnet50`)."""
    _, names = choose(module, FAMILIES, "timm", layers_of(like or {}))
    ours = module.state_dict()
    pairs = keys(module, names)
    return {theirs: _as_there(f"{key}, {theirs}", ours[key]) for key, theirs in pairs.items()}


def _as_there(pair: str, value: Tensor) -> Tensor:
    for pattern, side in CONVOLUTIONS:
        if re.fullmatch(pattern, pair):
            return value.reshape(value.shape[0], -1, side, side)
    return value
