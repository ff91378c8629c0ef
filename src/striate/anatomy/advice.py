"""The rules of thumb of the course notes as checks. Each rule looks at one anatomy and says nothing, or why.

`warning` is likely a mistake; `info` is a cost or a limit that a designer may want. Every text has the numbers
that set it off.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from striate.anatomy import kinds
from striate.anatomy.field import label
from striate.diagram.ending import interval, squashing

if TYPE_CHECKING:
    from striate.anatomy.anatomy import Anatomy
    from striate.diagram.graph import Graph, Node

WEIGHTED = ("conv2d", "linear")
# what a linear map followed by it still leaves a linear map
LINEAR = {
    "batch_norm",
    "avg_pool2d",
    "adaptive_avg_pool2d",
    "mean",
    "sum",
    "dropout",
    "dropout2d",
    "identity",
}
LINEAR |= {"add", "sub", "cat", "pad", "flatten", "reshape", "permute", "transpose", "squeeze", "unsqueeze"}


@dataclass(frozen=True, slots=True)
class Advice:
    """What one rule of thumb has to say about a network, with the numbers that set it off."""

    rule: str
    level: str  # "info" or "warning"
    text: str


def advise(a: Anatomy) -> list[Advice]:
    """What all rules have to say, in their order."""
    said = ((rule, rule(a)) for rule in RULES)
    return [Advice(rule.__name__.replace("_", "-"), *answer) for rule, answer in said if answer]


Answer = tuple[str, str] | None  # level, text


def alignment(a: Anatomy) -> Answer:
    """Branches that meet must look at the same place."""
    return ("info", f"{a.refused}: no receptive field can be given") if "not aligned" in a.refused else None


def receptive_field(a: Anatomy) -> Answer:
    """The last map should see the whole image if it is averaged, a quarter of it if a dense layer combines it."""
    if not a.receptive_field or not a.image or a.sees_all:
        return None
    dense = a.head == "flatten"
    for rf, side in zip(a.receptive_field, a.image, strict=True):
        if rf * (4 if dense else 1) < side:
            what = "less than a quarter of the image" if dense else "not the whole image"
            return "warning", (
                f"the last feature map sees {rf} of {side} pixels, {what}: "
                "more layers, strides or dilation would widen it"
            )
    return None


def divisible_input(a: Anatomy) -> Answer:
    """The input should halve without a remainder as often as the network shrinks it."""
    if not a.jump or not a.image:
        return None
    for jump, side in zip(a.jump, a.image, strict=True):
        if side % jump:
            lower, upper = side - side % jump, side - side % jump + jump
            near = f"{lower} or {upper}" if lower else f"{upper}"
            return (
                "info",
                f"the network shrinks {side} pixels by {jump}, which doesn't divide them; {near} would",
            )
    return None


def tiling(a: Anatomy) -> Answer:
    """(size - k + pads) / s should be whole, or the last rows and columns are never seen."""
    found = [(node, side, lost) for node, side, lost in _leftovers(a) if lost > 0]
    if not found:
        return None
    node, side, lost = found[0]
    size, k, s = a.before(node)[2 + side], node.args["kernel_size"][side], node.args["stride"][side]
    nodes = {n.id for n, _, _ in found}
    return "info", (
        f"{a.label(node)}: windows of {k} at stride {s} don't tile {size} pixels, "
        f"the last {lost} {_plural(lost, ('row', 'column')[side])} never seen{_and_more(len(nodes))}"
    )


def first_dense_layer(a: Anatomy) -> Answer:
    """Parameters should not sit in the dense layer that follows the feature maps."""
    if not any(node.op == "conv2d" for node in a.graph.nodes):
        return None
    for node in a.graph.nodes:
        if node.op == "linear" and a.source(node, "flatten"):
            count = math.prod(node.args["weight"])
            if count > a.params / 2:
                c_out, c_in = node.args["weight"]
                return "info", (
                    f"{a.label(node)}: {c_in:,} x {c_out:,} = {count:,} weights are {count / a.params:.0%} of all "
                    "parameters; global average pooling before it would need far fewer"
                )
            return None
    return None


def large_kernels(a: Anatomy) -> Answer:
    """After the first layer stacks of 3x3 see as far with fewer weights."""
    convs = [n for n in a.graph.nodes if n.op == "conv2d"]
    large = [n for n in convs[1:] if math.prod(n.args["kernel_size"]) > 25 and n.args["groups"] == 1]
    if not large:
        return None
    kh, kw = large[0].args["kernel_size"]
    stacked = 9 * math.ceil((max(kh, kw) - 1) / 2)
    return "info", (
        f"{a.label(large[0])}: a {kh}x{kw} kernel has {kh * kw} weights per channel pair, a stack of 3x3 that "
        f"sees as far {stacked}{_and_more(len(large))}"
    )


def nonlinearity(a: Anatomy) -> Answer:
    """Two linear layers in a row are one, unless the first makes it narrow (a bottleneck) or is grouped."""
    sources = _linear_sources(a)
    alone = [n for n in a.graph.nodes if n.op in WEIGHTED and len(a.graph.users[n.inputs[0]]) == 1]
    pairs = [(sources[n.inputs[0]], n) for n in alone]
    found = [(first, second) for first, second in pairs if first and _redundant(first, second)]
    if not found:
        return None
    first, second = found[0]
    return "warning", (
        f"nothing non-linear between {a.label(first)} and {a.label(second)}: "
        f"together they are one linear layer{_and_more(len(found))}"
    )


def classifier_norm(a: Anatomy) -> Answer:
    """Logits must be free to grow: no batch norm after the classifier."""
    last = _last_weighted(a.graph)
    after = [n for n in a.graph.nodes if n.op == "batch_norm" and last and n.id > last.id]
    return (
        ("warning", f"{a.label(after[0])} normalises the logits of {a.label(last)}")
        if last and after
        else None
    )


def logits(a: Anatomy) -> Answer:
    """Losses and probabilities take a network's outputs for logits: they must be free."""
    told = bounded_outputs(a.graph)
    return ("warning", told) if told else None


def dropout(a: Anatomy) -> Answer:
    """Large hidden dense layers overfit: drop some of their inputs."""
    body = max((n.id for n in a.graph.nodes if n.op == "conv2d" or n.op in kinds.MERGE), default=0)
    head = a.graph.nodes[body + 1 :]
    dense = [n for n in head if n.op == "linear"]
    hidden = sum(math.prod(n.args["weight"]) for n in dense[:-1])
    drops = any("dropout" in n.op for n in head) or any(
        "drop" in layer.type.lower() for layer in a.graph.layers
    )
    if hidden < 100_000 or drops:
        return None
    return "info", f"{hidden:,} weights in hidden dense layers and no dropout before {a.label(dense[-1])}"


def feature_map_size(a: Anatomy) -> Answer:
    """A window larger than its map multiplies mostly padding."""
    found = [n for n in a.graph.nodes if n.op == "conv2d" and _outgrown(n, a.before(n)[2:])]
    if not found:
        return None
    (kh, kw), (h, w) = found[0].args["kernel_size"], a.before(found[0])[2:]
    return "warning", (
        f"{a.label(found[0])}: a {kh}x{kw} window on a map of {h}x{w} sees mostly padding: "
        f"a larger input or fewer strides would help{_and_more(len(found))}"
    )


def odd_kernels(a: Anatomy) -> Answer:
    """An even window has no centre: under padding its output is shifted by half a pixel."""
    found = [n for n in a.graph.nodes if n.op == "conv2d" and _even(n)]
    if not found:
        return None
    kh, kw = found[0].args["kernel_size"]
    return (
        "info",
        f"{a.label(found[0])}: a {kh}x{kw} kernel has no centre, odd sizes have{_and_more(len(found))}",
    )


def depth_without_skips(a: Anatomy, limit: int = 20) -> Answer:
    """Beyond about twenty layers plain networks train worse than shallow ones (He et al., 2015, Fig. 1)."""
    depth = sum(n.op in WEIGHTED and not _depthwise(n) for n in a.graph.nodes)
    branches = any(n.op in kinds.MERGE and len(set(n.inputs)) > 1 for n in a.graph.nodes)
    if depth <= limit or branches:
        return None
    return "warning", f"{depth} layers with weights in a row and no skip connection (advised up to {limit})"


RULES: tuple[Callable[[Anatomy], Answer], ...] = (
    alignment,
    receptive_field,
    divisible_input,
    tiling,
    feature_map_size,
    odd_kernels,
    large_kernels,
    nonlinearity,
    classifier_norm,
    logits,
    first_dense_layer,
    dropout,
    depth_without_skips,
)


def bounded_outputs(graph: Graph) -> str:
    """What a network that ends in no logits can't say, or nothing."""
    node = squashing(graph)
    bounds = interval(node) if node else None
    if node is None or bounds is None:
        return ""
    (low, high), k = bounds, math.prod(node.shape)
    if high == math.inf:
        bound = f"none can be under {low:g}"
    elif k == 1:
        bound = f"every probability lies between {_sigmoid(low):.0%} and {_sigmoid(high):.0%}"
    else:
        bound = (
            f"of {k} classes none can get a probability over {1 / (1 + (k - 1) * math.exp(low - high)):.3f}"
        )
    end = _last_weighted(graph)
    better = f"; end it with {end.path or label(end)}" if end else ""
    name = f" ({node.path})" if node.path else ""
    return f"the network ends in {node.op}{name}, and its outputs are taken for logits: {bound}{better}"


# --- what the rules ask ---


def _leftovers(a: Anatomy) -> Iterator[tuple[Node, int, int]]:
    """(window, side, rows or columns that no window reaches, not counting those of padding)."""
    for node in a.graph.nodes:
        if node.op not in kinds.WINDOW or node.args.get("ceil_mode") or node.args.get("output"):
            continue
        before = a.before(node)
        source = a.graph.nodes[node.inputs[0]]
        for side in (0, 1):
            k, s, d = (node.args[name][side] for name in ("kernel_size", "stride", "dilation"))
            first, last = node.args["pads"][2 * side : 2 * side + 2]
            zeros = source.args["pad"][3 - 2 * side :][:1] if source.op == "pad" else ()
            left = (before[-2 + side] + first + last - d * (k - 1) - 1) % s
            if k >= s:
                yield node, side, left - last - sum(zeros)


def _linear_sources(a: Anatomy) -> list[Node | None]:
    """For each node the weighted layer of which it, and nothing else, is a linear function."""
    sources: list[Node | None] = []
    for node in a.graph.nodes:
        ways = [sources[i] if len(a.graph.users[i]) == 1 else None for i in node.inputs]
        linear = node.op in LINEAR or (node.op in ("mul", "div") and len(ways) == 1)
        sources.append(node if node.op in WEIGHTED else ways[0] if linear and all(ways) else None)
    return sources


def _redundant(first: Node, second: Node) -> bool:
    """Both mix channels, and the map between them is not narrower than both ends."""
    if max(first.args.get("groups", 1), second.args.get("groups", 1)) > 1:
        return False
    (middle, c_in), c_out = first.args["weight"][:2], second.args["weight"][0]
    return middle >= min(c_in, c_out)


def _last_weighted(graph: Graph) -> Node | None:
    return next((n for n in reversed(graph.nodes) if n.op in WEIGHTED), None)


def _sigmoid(x: float) -> float:
    return 1 / (1 + math.exp(-x))


def _depthwise(node: Node) -> bool:
    """One half of a separable convolution."""
    return node.args.get("groups", 1) > 1 and node.args["weight"][1] == 1


def _outgrown(node: Node, size: tuple[int, ...]) -> bool:
    kernel, dilation = node.args["kernel_size"], node.args["dilation"]
    return any(d * (k - 1) + 1 > n for k, d, n in zip(kernel, dilation, size, strict=True) if k > 1)


def _even(node: Node) -> bool:
    pairs = zip(node.args["kernel_size"], node.args["stride"], strict=True)
    return any(k % 2 == 0 and s == 1 for k, s in pairs)


def _plural(n: int, word: str) -> str:
    return f"{word} is" if n == 1 else f"{word}s are"


def _and_more(n: int) -> str:
    return f" ({n} layers in all)" if n > 1 else ""
