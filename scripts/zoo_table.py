"""Measure every network of the zoo: writes src/striate/zoo/golden.json and docs/zoo.md.  `make zoo-table`

golden.json is what the tests hold the networks to and what `striate models` prints; nothing in it depends on
the machine. docs/zoo.md shows it as tables, with latencies measured on the machine that ran this script.
"""

import json
import platform
import sys
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any, NamedTuple

import torch
from torch import nn

from striate.anatomy import anatomy
from striate.zoo import Card, build
from striate.zoo.registry import GOLDEN, card_fields, registered

DOCS = Path(__file__).parents[1] / "docs" / "zoo.md"


class Published(NamedTuple):
    """A row of Keras' table, keras.io/api/applications.

    `extra` is what its count adds to our trained parameters, in channels under batch norm: 2 for mean and
    variance, 3 with a bias for every convolution in front of a norm, 1 where the norms have no scale.
    """

    name: str
    params: int
    megabytes: int
    top1: float
    top5: float
    depth: str  # in layers as Keras counts them
    extra: int


KERAS = {
    "xception": Published("Xception", 22_910_480, 88, 0.790, 0.945, "126", 2),
    "vgg16": Published("VGG16", 138_357_544, 528, 0.713, 0.901, "23", 0),
    "vgg19": Published("VGG19", 143_667_240, 549, 0.713, 0.900, "26", 0),
    "resnet50": Published("ResNet50", 25_636_712, 98, 0.749, 0.921, "-", 3),
    "resnet101": Published("ResNet101", 44_707_176, 171, 0.764, 0.928, "-", 3),
    "resnet152": Published("ResNet152", 60_419_944, 232, 0.766, 0.931, "-", 3),
    "resnet50v2": Published("ResNet50V2", 25_613_800, 98, 0.760, 0.930, "-", 2),
    "resnet101v2": Published("ResNet101V2", 44_675_560, 171, 0.772, 0.938, "-", 2),
    "resnet152v2": Published("ResNet152V2", 60_380_648, 232, 0.780, 0.942, "-", 2),
    "resnext50_32x4d": Published("ResNeXt50", 25_097_128, 96, 0.777, 0.938, "-", 2),
    "resnext101_32x4d": Published("ResNeXt101", 44_315_560, 170, 0.787, 0.943, "-", 2),
    "inception_v3": Published("InceptionV3", 23_851_784, 92, 0.779, 0.937, "159", 1),
    "inception_resnet_v2": Published("InceptionResNetV2", 55_873_736, 215, 0.803, 0.953, "572", 1),
    "mobilenet_v1": Published("MobileNet", 4_253_864, 16, 0.704, 0.895, "88", 2),
    "mobilenet_v2": Published("MobileNetV2", 3_538_984, 14, 0.713, 0.901, "88", 2),
    "densenet121": Published("DenseNet121", 8_062_504, 33, 0.750, 0.923, "121", 2),
    "densenet169": Published("DenseNet169", 14_307_880, 57, 0.762, 0.932, "169", 2),
    "densenet201": Published("DenseNet201", 20_242_984, 80, 0.773, 0.936, "201", 2),
    "nasnet_mobile": Published("NASNetMobile", 5_326_716, 23, 0.744, 0.919, "-", 2),
    "nasnet_large": Published("NASNetLarge", 88_949_818, 343, 0.825, 0.960, "-", 2),
}
EXTRA = {0: "", 1: "statistics, no scale", 2: "statistics", 3: "statistics, biases"}


def measure(card: Card) -> dict[str, Any]:
    """Everything that can be known of a network without doing its arithmetic."""
    with torch.device("meta"):
        net = build(card.name).eval()
    seen = anatomy(net, card.input)
    return {
        **card_fields(card),
        "params_with_statistics": seen.params_keras,
        "macs": seen.macs,
        "receptive_field": list(seen.receptive_field) if seen.receptive_field else None,
        "stages": stage_shapes(net, card.input),
        "bytes": seen.disk_bytes,
    }


def stage_shapes(net: nn.Module, shape: tuple[int, int, int]) -> dict[str, list[int]]:
    """(c, h, w) behind the stem and behind every stage."""
    shapes: dict[str, list[int]] = {}
    parts = {"stem": net.get_submodule("stem"), **dict(net.get_submodule("stages").named_children())}
    for name, part in parts.items():
        part.register_forward_hook(partial(_keep_shape, shapes, name))
    net(torch.empty(1, *shape, device="meta"))
    return shapes


def _keep_shape(shapes: dict[str, list[int]], name: str, _module: nn.Module, _given: Any, y: Any) -> None:
    shapes[name] = list((y if isinstance(y, torch.Tensor) else y[0]).shape[1:])


def latency(name: str, passes: int = 7) -> float:
    """Milliseconds of one core for one image, the median of several passes; what else runs is not counted."""
    net, x = build(name).eval(), torch.randn(1, *registered()[name].input)
    spent = []
    with torch.inference_mode():
        for _ in range(passes):
            start = time.process_time()
            net(x)
            spent.append(1000 * (time.process_time() - start))
    return median(spent)


def document(golden: dict[str, dict[str, Any]], latencies: dict[str, float]) -> str:
    """docs/zoo.md."""
    machine = f"{cpu()}, torch {torch.__version__.split('+')[0]}"
    return TEXT.format(
        count=len(golden),
        machine=machine,
        keras_head=KERAS_HEAD,
        keras="\n".join(keras_rows(golden, latencies)),
        networks="\n".join(network_rows(golden)),
    )


def keras_rows(golden: dict[str, dict[str, Any]], latencies: dict[str, float]) -> Iterator[str]:
    """The table of Keras' applications, counted from our own networks."""
    for name, theirs in KERAS.items():
        ours = golden[name]
        yield table_row(
            f"`{name}`",
            f"{ours['params']:,}",
            f"{ours['params_with_statistics']:,}",
            f"{keras_count(ours, theirs.extra):,}",
            EXTRA[theirs.extra],
            f"{ours['macs']:,}",
            f"{ours['bytes'] / 2**20:.0f}",
            theirs.megabytes,
            f"{theirs.top1:.3f}",
            f"{theirs.top5:.3f}",
            theirs.depth,
            f"{latencies[name]:.0f}",
        )


def keras_count(ours: dict[str, Any], extra: int) -> int:
    """What Keras' summary calls total parameters."""
    params, statistics = int(ours["params"]), int(ours["params_with_statistics"] - ours["params"])
    return params + extra * statistics // 2


def network_rows(golden: dict[str, dict[str, Any]]) -> Iterator[str]:
    """Every network, in order of year."""
    order = {name: (row["year"], row["family"], row["params"]) for name, row in golden.items()}
    for name in sorted(golden, key=order.__getitem__):
        row = golden[name]
        c, h, w = row["input"]
        field = row["receptive_field"]
        yield table_row(
            f"`{name}`",
            row["year"],
            source(row["paper"]),
            f"{h}x{w}x{c}",
            row["min_side"],
            f"{row['params']:,}",
            f"{row['macs']:,}",
            "x".join(map(str, dict.fromkeys(field))) if field else "-",
            f"{row['bytes'] / 2**20:.1f}",
        )


def table_row(*cells: object) -> str:
    """One line of a Markdown table."""
    return f"| {' | '.join(map(str, cells))} |"


def source(paper: str) -> str:
    """A link where there is one."""
    if paper.startswith("10."):
        return f"[doi](https://doi.org/{paper})"
    return f"[{paper}](https://arxiv.org/abs/{paper})" if paper[:4].isdigit() else paper


def cpu() -> str:
    """The processor's name, as Linux gives it."""
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.exists() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()


TEXT = """# The zoo

{count} networks, each readable in one file of `src/striate/zoo/`, each built by name:

```python
from striate import zoo

net = zoo.build("resnet20_cifar", num_classes=3)
net.features  # what the head sees
net.reset_head(5)  # other classes, fresh last layer
```

Written by `make zoo-table` from the networks themselves. Parameters are the trained ones; multiply-adds count
the products of convolutions and dense layers for one image, as torchvision does; MB are 2^20 bytes of weights
and statistics in float32.

## The table of Keras' applications, from our own networks

Keras counts as parameters what batch norm does not train too, its running means and variances. Some of its
networks have weights that ours lack by default, a bias in front of every norm (ResNet v1), or lack one of
ours, the scale of the norms (Inception). "Keras counts" is our network counted by Keras' rule, and agrees with
Keras' page in every row. Top-1, top-5, MB and depth (in layers as Keras counts them) are what that page says
of its weights. Latency is the time that one core spends on one image, in float32, with the network as built:
{machine}.

{keras_head}
|---|--:|--:|--:|---|--:|--:|--:|--:|--:|--:|--:|
{keras}

## Every network

Receptive field: the pixels that one value of the last feature map sees, for a square one side; "-" where
branches see windows with different centres, or where there is no map.

| network | year | paper | input | smallest side | parameters | multiply-adds | receptive field | MB |
|---|--:|---|---|--:|--:|--:|--:|--:|
{networks}
"""
KERAS_HEAD = table_row(
    *("network", "parameters", "with statistics", "Keras counts", "which adds", "multiply-adds"),
    *("MB", "MB, Keras", "top-1", "top-5", "depth", "ms"),
)


def as_json(golden: dict[str, dict[str, Any]]) -> str:
    """One network a line, so that a change shows as one."""
    lines = ",\n".join(f"{json.dumps(name)}: {json.dumps(row)}" for name, row in golden.items())
    return f"{{\n{lines}\n}}\n"


def main() -> None:
    """Measure, write both files, say so."""
    golden = {name: measure(card) for name, card in registered().items()}
    GOLDEN.write_text(as_json(golden))
    print(f"{GOLDEN}: {len(golden)} networks", file=sys.stderr)
    torch.set_num_threads(1)
    latencies = {name: latency(name) for name in KERAS}
    DOCS.write_text(document(golden, latencies))
    print(f"{DOCS}: latencies of {len(latencies)} networks", file=sys.stderr)


if __name__ == "__main__":
    main()
