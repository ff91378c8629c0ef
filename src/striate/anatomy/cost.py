"""Parameters with their formula, multiply-adds and comparisons, for one image, as exact integers.

Multiply-adds (MACs) are torchvision's: multiplications of convolutions, linear layers and matrices. Biases,
normalisation, activations and pooling add nothing; max-pooling's comparisons are counted apart.
"""

import math
from dataclasses import dataclass

from torch import nn

from striate.anatomy import kinds
from striate.diagram.graph import Graph, Layer, Node


@dataclass(frozen=True, slots=True)
class Parameters:
    """How many, how many of them trainable, and the formula that gives the first."""

    count: int
    trainable: int
    formula: str


def parameters(graph: Graph, module: nn.Module) -> list[Parameters]:
    """For every layer the parameters that enter there first: shared weights count once."""
    named = dict(module.named_parameters())
    counted: set[int] = set()
    return [_of_layer(layer, named, counted) for layer in graph.layers]


def _of_layer(layer: Layer, named: dict[str, nn.Parameter], counted: set[int]) -> Parameters:
    own = layer.module.parameters() if layer.module else ()
    used = (named[name] for node in layer.nodes for name in node.params)
    everything = {id(p): p for p in (*own, *used)}
    new = [p for i, p in everything.items() if i not in counted]
    counted.update(everything)
    count = sum(p.numel() for p in new)
    terms = [term for node in layer.nodes if (term := _formula(node))]
    if count == sum(value for _, value in terms):
        formula = " + ".join(text for text, _ in terms)
    else:  # shared, reparametrised or unusual: say it by shapes
        formula = " + ".join("*".join(map(str, p.shape)) or "1" for p in new) or "shared"
    trainable = sum(p.numel() for p in new if p.requires_grad)
    return Parameters(count, trainable, formula)


def running_statistics(module: nn.Module) -> int:
    """Running means and variances of batch norm: not trained, but counted by Keras."""
    held = (getattr(m, name, None) for m in module.modules() for name in ("running_mean", "running_var"))
    return sum({id(t): t.numel() for t in held if t is not None}.values())


def macs(node: Node, graph: Graph) -> int | None:
    """Multiplications of products for one operation; None if the operation is unknown.

    >>> from striate.diagram.graph import trace
    >>> graph = trace(nn.Conv2d(32, 64, 3, padding=1), (32, 28, 28))
    >>> macs(graph.nodes[1], graph) == 3 * 3 * 32 * 64 * 28 * 28
    True
    """
    if node.op not in kinds.KNOWN:
        return None
    if node.op not in kinds.PRODUCT or node.args.get("output"):
        return 0
    given = [graph.nodes[i].shape for i in node.inputs]
    if node.op.startswith("conv_transpose"):  # every input value meets every kernel weight
        return math.prod(given[0]) * math.prod(node.args["weight"][1:])
    if node.op.startswith(("conv", "linear")):
        return math.prod(node.shape) * math.prod(node.args["weight"][1:])
    if node.op in ("matmul", "mm", "bmm"):
        return math.prod(node.shape) * node.args["input"][-1]
    if node.op == "einsum":
        return _einsum(node)
    if node.op == "scaled_dot_product_attention":
        q, k, v = (node.args[name] for name in ("query", "key", "value"))
        return math.prod(q) * k[-2] + math.prod(q[:-1]) * k[-2] * v[-1]
    return _attention(node)


def comparisons(node: Node, graph: Graph) -> int:
    """Values that max-pooling looks at: k*k for every value that it gives.

    >>> from striate.diagram.graph import trace
    >>> graph = trace(nn.MaxPool2d(2, stride=1), (16, 29, 29))
    >>> comparisons(graph.nodes[1], graph) == 2 * 2 * 28 * 28 * 16
    True
    """
    if node.op == "max_pool2d" and not node.args.get("output"):
        return math.prod(node.shape) * math.prod(node.args["kernel_size"])
    if node.op == "adaptive_max_pool2d" or (
        node.op == "amax" and len(graph.nodes[node.inputs[0]].shape) == 4
    ):
        return math.prod(graph.nodes[node.inputs[0]].shape)
    return 0


def _einsum(node: Node) -> int | None:
    """Two factors: the product of all different letters."""
    equation, *shapes = (v for k, v in node.args.items() if k != "output")
    factors = equation.replace(" ", "").partition("->")[0].split(",")
    shapes = shapes[0] if len(shapes) == 1 and len(factors) == 2 else shapes
    if len(factors) != 2 or "." in equation:
        return None
    sizes = {letter: n for f, s in zip(factors, shapes, strict=True) for letter, n in zip(f, s, strict=True)}
    return math.prod(sizes.values())


def _attention(node: Node) -> int | None:
    """torch's multi-head attention, (tokens, n, c): projections in and out, two products over all heads."""
    (t, n, c), (s, _, c_k) = node.args["query"], node.args["key"]
    if node.args.get("use_separate_proj_weight"):
        return None
    return n * (t * c * c + 2 * s * c_k * c + 2 * t * s * c + t * c * c)


def _formula(node: Node) -> tuple[str, int] | None:
    """The arithmetic of the notes and its value: `(3*3*32 + 1)*64`, 18,496."""
    if not node.params or "weight" not in node.args:
        return None
    weight: tuple[int, ...] = node.args["weight"] or ()
    bias: tuple[int, ...] = node.args.get("bias") or ()
    value = math.prod(weight) * bool(weight) + math.prod(bias) * bool(bias)
    if node.op == "batch_norm":
        return (f"2*{weight[0]}" if weight and bias else f"{max(weight, bias)[0]}"), value
    if node.op == "linear":
        c_out, inner = weight[0], f"{weight[1]}"
    elif node.op in ("conv1d", "conv2d", "conv3d"):
        c_out, c_in, *kernel = weight
        groups = node.args["groups"]
        depthwise = groups > 1 and c_in == 1
        inner = "*".join(map(str, kernel if depthwise else (*kernel, c_in * groups)))
        inner += f"/{groups}" if groups > 1 and not depthwise else ""
    else:
        return None
    return (f"({inner} + 1)*{c_out}" if bias else f"{inner}*{c_out}"), value
