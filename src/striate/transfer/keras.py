"""Weights between our networks and those of `keras.applications`."""

import re
from collections.abc import Collection, Iterable, Mapping

import numpy as np
import torch
from torch import nn

from striate.transfer.keras_layout import NORM, from_keras, natural, renumbered, to_keras_layout
from striate.transfer.names import Rules, check, choose, groups, layers
from striate.transfer.state import as_ours, put

UNSCALED = ("inception_v3", "inception_resnet_v2")  # families whose batch norms have no gamma


def bottleneck(match: re.Match[str], _: int) -> str:
    """`stages.conv2.0.body.conv1` is `conv2_block1_1_conv`; the shortcut is number 0."""
    stage, block, layer = match.groups()
    name, number = groups(r"(?:body\.|shortcut\.)?(conv|bn|shortcut)(\d?)", layer)
    if layer == "bn":
        return f"conv{stage}_block{int(block) + 1}_preact_bn"
    return f"conv{stage}_block{int(block) + 1}_{number or 0}_{name.replace('shortcut', 'conv')}"


def dense(match: re.Match[str], _: int) -> str:
    """`stages.dense1.0.body.bn1` is `conv2_block1_0_bn`, the norm that comes first."""
    stage, block, layer, number = match.groups()
    return f"conv{int(stage) + 1}_block{int(block) + 1}_{int(number) - (layer == 'bn')}_{layer}"


def separable(match: re.Match[str], block: int) -> str:
    """`stages.stage1.0.depthwise.conv` is `conv_dw_1`."""
    return f"conv_{match[1][0]}w_{block + 1}{'_bn' if match[2] == 'bn' else ''}"


def inverted(match: re.Match[str], block: int) -> str:
    """`stages.stage2.0.body.0.bn` is `block_1_expand_BN`; the first block doesn't expand."""
    step = ("depthwise", "project") if block == 0 else ("expand", "depthwise", "project")
    where = "expanded_conv" if block == 0 else f"block_{block}"
    return f"{where}_{step[int(match[1])]}{'_BN' if match[2] == 'bn' else ''}"


def xception(match: re.Match[str], _: int) -> str:
    """`stages.entry.0.0.separable2.depthwise` is `block2_sepconv2/depthwise_kernel`; skips have no names."""
    flow, block, side, layer = match.groups()
    number = 13 if flow == "exit" else int(block) + (2 if flow == "entry" else 5)
    if side == "1":
        return f"{'conv2d' if layer == 'conv' else 'batch_normalization'}_{min(number - 2, 3)}"
    i, part = groups(r"\D+(\d)\.?(.*)", layer)
    return f"block{number}_sepconv{i}" + (f"/{part}_kernel" if part else "_bn")


SQUEEZE = {  # the layers of a NASNet cell that bring its inputs to one width
    "current.conv": "{}_conv_1",
    "current.bn": "{}_bn_1",
    "previous.conv": "adjust_conv_projection",
    "previous.paths.0": "adjust_conv_1",
    "previous.paths.1.conv": "adjust_conv_2",
    "previous.bn": "adjust_bn",
}


def cell_layer(layer: str, kind: str, cell: str) -> str:
    """`blocks.0.left.separable1.depthwise` is `separable_conv_1_normal_left1_0/depthwise_kernel`."""
    if layer in SQUEEZE:
        return f"{SQUEEZE[layer].format(kind)}_{cell}"
    block, side, what, i, part = groups(r"blocks\.(\d)\.(\w+)\.(\D+)(\d)\.?(\w*)", layer)
    number = (
        4 if (kind, block) == ("reduction", "4") else int(block) + 1
    )  # a slip that the weights' names keep
    name = f"separable_conv_{i}{'_bn' if what == 'bn' else ''}_{kind}_{side}{number}_{cell}"
    return f"{name}/{part}_kernel" if part else name


def nas_cell(match: re.Match[str], block: int) -> str:
    """`stages.cells2.0.current.bn` is `reduction_bn_1_reduce_6`, the cell after it number 7."""
    stage, i, layer = int(match[1]), int(match[2]), match[3]
    number = block - (stage == 3)
    if stage > 1 and i == 0:
        return cell_layer(layer, "reduction", f"reduce_{number}")
    return cell_layer(layer, "normal", str(number))


FAMILIES: dict[str, Rules] = {
    "vgg": (
        (r"stages\.conv(\d)\.conv(\d)", r"block\1_conv\2"),
        (r"head\.fc6\.fc", "fc1"),
        (r"head\.fc7\.fc", "fc2"),
        (r"head\.fc8", "predictions"),
    ),
    "resnet_cifar": (
        (r"stem\.conv1|stages\.conv\d\.\d\.(?:body\.conv\d|shortcut)", "conv2d_#"),
        (r"stem\.bn1|stages\.conv\d\.\d\.body\.bn\d", "batch_normalization_#"),
        (r"head\.fc", "dense"),
    ),
    "resnet": (
        (r"stem\.(conv|bn)1", r"conv1_\1"),
        (r"stages\.conv(\d)\.(\d+)\.(body\.\w+|shortcut\.\w+|shortcut|bn)", bottleneck),
        (r"stages\.end\.bn", "post_bn"),
        (r"head\.fc", "predictions"),
    ),
    "densenet": (
        (r"stem\.(conv|bn)0", r"conv1_\1"),
        (r"stages\.dense(\d)\.(\d+)\.body\.(conv|bn)(\d)", dense),
        (r"stages\.transition(\d)\.(conv|bn)", lambda m, _: f"pool{int(m[1]) + 1}_{m[2]}"),
        (r"stages\.end\.bn", "bn"),
        (r"head\.fc", "predictions"),
    ),
    "mobilenet_v1": (
        (r"stem\.conv", "conv1"),
        (r"stem\.bn", "conv1_bn"),
        (r"stages\.\w+\.\d\.(depth|point)wise\.(conv|bn)", separable),
        (r"head\.fc", "conv_preds"),
    ),
    "mobilenet_v2": (
        (r"stem\.conv", "Conv1"),
        (r"stem\.bn", "bn_Conv1"),
        (r"stages\.\w+\.\d\.body\.(\d)\.(conv|bn)", inverted),
        (r"stages\.end\.conv", "Conv_1"),
        (r"stages\.end\.bn", "Conv_1_bn"),
        (r"head\.fc", "predictions"),
    ),
    "inception_v3": (
        (r"stem\.\w+\.conv|stages\.mixed\d\.[a-e]\..+\.conv", "conv2d_#"),
        (r"stem\.\w+\.bn|stages\.mixed\d\.[a-e]\..+\.bn", "batch_normalization_#"),
        (r"head\.fc", "predictions"),
    ),
    "inception_resnet_v2": (
        (
            r"stages\.mixed([567])\.blocks\.(\d+)\.up",
            lambda m, _: f"block{ {'5': 35, '6': 17, '7': 8}[m[1]] }_{int(m[2]) + 1}_conv",
        ),
        (r"stages\.mixed7\.conv7b\.conv", "conv_7b"),
        (r"stages\.mixed7\.conv7b\.bn", "conv_7b_bn"),
        (r"stem\.\w+\.conv|stages\.mixed\d\.(?:[ab]|blocks)\..+\.conv", "conv2d_#"),
        (r"stem\.\w+\.bn|stages\.mixed\d\.(?:[ab]|blocks)\..+\.bn", "batch_normalization_#"),
        (r"head\.fc", "predictions"),
    ),
    "xception": (
        (r"stem\.conv(\d)", r"block1_conv\1"),
        (r"stem\.bn(\d)", r"block1_conv\1_bn"),
        (r"stages\.(entry|middle)\.(\d)\.(\d)\.(.+)", xception),
        (r"stages\.(exit)\.(block)\.(\d)\.(.+)", xception),
        (r"stages\.exit\.separable(\d)\.separable\.(\w+)", r"block14_sepconv\1/\2_kernel"),
        (r"stages\.exit\.separable(\d)\.bn", r"block14_sepconv\1_bn"),
        (r"head\.fc", "predictions"),
    ),
    "nasnet": (
        (r"stem\.conv", "stem_conv1"),
        (r"stem\.bn", "stem_bn1"),
        (r"stem\.cell(\d)\.(.+)", lambda m, _: cell_layer(m[2], "reduction", f"stem_{m[1]}")),
        (r"stages\.cells(\d)\.(\d+)\.(.+)", nas_cell),
        (r"head\.fc", "predictions"),
    ),
}


def load_keras(module: nn.Module, state: Mapping[str, np.ndarray], blank: Collection[str] = ()) -> None:
    """Copy a Keras state into the same network of ours; a batch norm without gamma there gets ones.

    Those of our keys that are in `blank` may be missing and then become zeros.
    """
    state = renumbered(state)
    _, pairs = keras_keys(module, {key.partition("/")[0] for key in state})
    ours, known = module.state_dict(), layers(module)
    values = {}
    for key, theirs in pairs.items():
        if theirs in state:
            values[key] = from_keras(state[theirs], known[key.rpartition(".")[0]], key)
        elif theirs.endswith("/gamma") and f"{theirs[:-5]}beta" in state:
            values[key] = torch.ones(ours[key].shape)
    values |= {key: torch.zeros(ours[key].shape) for key in blank if key not in values}
    check(
        "Keras",
        missing=[theirs for key, theirs in pairs.items() if key not in values],
        unexpected=sorted(state.keys() - set(pairs.values())),
        shapes=[
            f"{pairs[key]}: {np.shape(state[pairs[key]])} for our {tuple(ours[key].shape)}"
            for key, value in values.items()
            if value.shape != ours[key].shape
        ],
    )
    put(module, {key: as_ours(value, ours[key], pairs[key], "Keras") for key, value in values.items()})


def to_keras(module: nn.Module) -> dict[str, np.ndarray]:
    """The state that Keras' network takes.

    Where its batch norms have no gamma, ours goes into the convolution before: the same at inference.
    """
    family, pairs = keras_keys(module)
    ours, known = {key: value.detach().cpu() for key, value in module.state_dict().items()}, layers(module)
    for key in gammas(pairs) if family in UNSCALED else ():
        gamma, norm = ours[key], key.removesuffix(".weight")
        conv = f"{norm.removesuffix('bn')}conv.weight"
        ours[conv] = ours[conv] * gamma[:, None, None, None]
        ours[f"{norm}.running_mean"] = ours[f"{norm}.running_mean"] * gamma
        del pairs[key]
    return {
        theirs: to_keras_layout(ours[key], known[key.rpartition(".")[0]], key, theirs)
        for key, theirs in pairs.items()
    }


def keras_parameters(module: nn.Module) -> int:
    """Parameters as Keras counts them: running statistics too, no gamma where its batch norms have none."""
    family, pairs = keras_keys(module)
    ours = module.state_dict()
    left = gammas(pairs) if family in UNSCALED else []
    return sum(ours[key].numel() for key in pairs if key not in left)


def keras_keys(module: nn.Module, given: Iterable[str] = ()) -> tuple[str, dict[str, str]]:
    """The family and, for each key of our state dict, Keras' `layer/variable`."""
    family, names = choose(module, FAMILIES, "Keras", given)
    known, pairs = layers(module), {}
    for key in module.state_dict():
        ours, _, leaf = key.rpartition(".")
        theirs = natural(names[ours])
        if isinstance(known[ours], nn.BatchNorm2d):
            if leaf in NORM:
                pairs[key] = f"{theirs}/{NORM[leaf]}"
        else:
            pairs[key] = theirs if "/" in theirs else f"{theirs}/{'kernel' if leaf == 'weight' else leaf}"
    return family, pairs


def gammas(pairs: Mapping[str, str]) -> list[str]:
    """Those of our keys that are gammas there."""
    return [key for key, theirs in pairs.items() if theirs.endswith("/gamma")]
