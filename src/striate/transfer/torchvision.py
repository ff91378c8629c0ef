"""Weights between our networks and torchvision's."""

import re
from collections.abc import Collection, Mapping

from torch import Tensor, nn

from striate.transfer.names import Rules, choose
from striate.transfer.state import keys, layers_of, load_state

TOWERS = {  # what the towers of Inception v3 are called; those with several steps number them
    "5": ("branch1x1", "branch5x5_", "branch3x3dbl_", "branch_pool"),
    "6": ("branch1x1", "branch7x7_", "branch7x7dbl_", "branch_pool"),
    "7": ("branch1x1", "branch3x3_", "branch3x3dbl_", "branch_pool"),
    "6a": ("branch3x3", "branch3x3dbl_"),
    "7a": ("branch3x3_", "branch7x7x3_"),
}


def mixed(match: re.Match[str], _: int) -> str:
    """`stages.mixed7.b.2.2.1.conv` is `Mixed_7b.branch3x3dbl_3b.conv`."""
    stage, block, tower, step, fork, layer = match.groups()
    name = TOWERS.get(stage + block, TOWERS[stage])[int(tower)]
    if name.endswith("_"):
        name += str(int(step) + 1) + ("" if fork is None else "ab"[int(fork)])
    return f"Mixed_{stage}{block}.{name}.{layer}"


def residual(match: re.Match[str], _: int) -> str:
    """`stages.conv2.0.shortcut.bn` is `layer1.0.downsample.1`."""
    stage, block, layer = match.groups()
    layer = {"shortcut.conv": "downsample.0", "shortcut.bn": "downsample.1"}.get(layer, layer[len("body.") :])
    return f"layer{int(stage) - 1}.{block}.{layer}"


def dense(match: re.Match[str], _: int) -> str:
    """`stages.dense1.0.body.bn1` is `features.denseblock1.denselayer1.norm1`."""
    stage, i, layer = match.groups()
    return f"features.denseblock{stage}.denselayer{int(i) + 1}.{layer.replace('bn', 'norm')}"


def inverted(match: re.Match[str], block: int) -> str:
    """`stages.stage2.0.body.2.bn` is `features.2.conv.3`: the last step, without activation, lies flat."""
    step, layer = int(match[1]), ("conv", "bn").index(match[2])
    last = 1 if block == 0 else 2  # the first block doesn't expand
    return f"features.{block + 1}.conv.{step + layer if step == last else f'{step}.{layer}'}"


RESNET: Rules = (
    (r"stem\.(conv1|bn1)", r"\1"),
    (r"stages\.conv(\d)\.(\d+)\.(body\.(?:conv|bn)\d|shortcut\.\w+)", residual),
    (r"head\.fc", "fc"),
)
DENSENET: Rules = (
    (r"stem\.conv0", "features.conv0"),
    (r"stem\.bn0", "features.norm0"),
    (r"stages\.dense(\d)\.(\d+)\.body\.(\w+)", dense),
    (r"stages\.transition(\d)\.conv", r"features.transition\1.conv"),
    (r"stages\.transition(\d)\.bn", r"features.transition\1.norm"),
    (r"stages\.end\.bn", "features.norm5"),
    (r"head\.fc", "classifier"),
)
INCEPTION_V3: Rules = (
    (r"stem\.conv3b\.(\w+)", r"Conv2d_3b_1x1.\1"),
    (r"stem\.conv(\d\w)\.(\w+)", r"Conv2d_\1_3x3.\2"),
    (r"stages\.mixed([67])\.(a)\.([01])(?:\.(\d))?(?:\.(\d))?\.(conv|bn)", mixed),
    (r"stages\.mixed([567])\.([b-e])\.([0-3])(?:\.(\d))?(?:\.(\d))?\.(conv|bn)", mixed),
    (r"auxiliary\.mixed6_e\.(.+)", r"AuxLogits.\1"),
    (r"head\.fc", "fc"),
)
FAMILIES: dict[str, Rules] = {
    "alexnet": (
        (r"stem\.conv1", "features.0"),
        (r"stages\.conv([2-5])\.conv", lambda m, _: f"features.{(3, 6, 8, 10)[int(m[1]) - 2]}"),
        (r"head\.fc6\.fc", "classifier.1"),
        (r"head\.fc7\.fc", "classifier.4"),
        (r"head\.fc8", "classifier.6"),
    ),
    "vgg": (
        (r"stages\.conv\d\.(conv|bn)\d", lambda _, block: f"features.{block}"),
        (r"head\.fc6\.fc", "classifier.0"),
        (r"head\.fc7\.fc", "classifier.3"),
        (r"head\.fc8", "classifier.6"),
    ),
    "squeezenet": (
        (r"stem\.conv1", "features.0"),
        (r"stages\.\w+\.\d\.squeeze\.conv", lambda _, block: f"features.{block + 2}.squeeze"),
        (r"stages\.\w+\.\d\.expand(\d)\.conv", lambda m, block: f"features.{block + 2}.expand{m[1]}x{m[1]}"),
        (r"head\.conv10", "classifier.1"),
    ),
    "googlenet": (
        (r"stem\.(conv\d\.(?:conv|bn))", r"\1"),
        (
            r"stages\.inception(\d)\.(\w)\.(\d)((?:\.\d)?\.(?:conv|bn))",
            lambda m, _: f"inception{m[1]}{m[2]}.branch{int(m[3]) + 1}{m[4]}",
        ),
        (r"auxiliary\.inception4_a\.(.+)", r"aux1.\1"),
        (r"auxiliary\.inception4_d\.(.+)", r"aux2.\1"),
        (r"head\.fc", "fc"),
    ),
    "inception_v3": INCEPTION_V3,
    "resnet": RESNET,
    "densenet": DENSENET,
    "mobilenet_v2": (
        (r"stem\.(conv|bn)", lambda m, _: f"features.0.{int(m[1] == 'bn')}"),
        (r"stages\.stage\d\.\d\.body\.(\d)\.(conv|bn)", inverted),
        (r"stages\.end\.(conv|bn)", lambda m, _: f"features.18.{int(m[1] == 'bn')}"),
        (r"head\.fc", "classifier.1"),
    ),
}
AUXILIARY = ("aux1.", "aux2.", "AuxLogits.")
PUBLISHED = re.compile(r"(.*\bdenselayer\d+\.(?:norm|conv))\.([12]\..*)")  # names of DenseNet's files


def today(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """A state dict under the names of today: those of published DenseNets, `denselayer1.norm.1`, are of 2017."""
    return {PUBLISHED.sub(r"\1\2", key): value for key, value in state.items()}


def load_torchvision(module: nn.Module, state: Mapping[str, Tensor], blank: Collection[str] = ()) -> None:
    """Copy a torchvision state dict into the same network of ours; heads for training only are optional."""
    state = today(state)
    _, names = choose(module, FAMILIES, "torchvision", layers_of(state))
    load_state(module, names, state, "torchvision", AUXILIARY, blank)


def to_torchvision(module: nn.Module) -> dict[str, Tensor]:
    """The state dict that torchvision's network takes."""
    _, names = choose(module, FAMILIES, "torchvision")
    ours = module.state_dict()
    return {theirs: ours[key] for key, theirs in keys(module, names).items()}
