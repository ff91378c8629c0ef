"""How a network ends: whether its outputs are logits, which are free, or are squashed into an interval."""

import math

from torch import nn

from striate.diagram.graph import Graph, Layer, Node, trace
from striate.diagram.meta import TraceError

INTERVALS = {  # operation: (least, greatest) output
    "softmax": (0.0, 1.0),
    "softmin": (0.0, 1.0),
    "sigmoid": (0.0, 1.0),
    "hardsigmoid": (0.0, 1.0),
    "tanh": (-1.0, 1.0),
    "softsign": (-1.0, 1.0),
    "relu": (0.0, math.inf),
    "softplus": (0.0, math.inf),
}
PASSED = ("identity", "dropout", "flatten", "reshape", "squeeze", "unsqueeze")


def interval(node: Node) -> tuple[float, float] | None:
    """What the operation squashes everything into, or nothing."""
    if node.op == "hardtanh":  # ReLU6 is one
        return node.args["min_val"], node.args["max_val"]
    return INTERVALS.get(node.op)


def squashing(graph: Graph) -> Node | None:
    """The operation that squashes one number for each class at the end; None where logits come out."""
    node = graph.nodes[graph.outputs[0]]
    while node.op in PASSED:
        node = graph.nodes[node.inputs[0]]
    return node if interval(node) and sum(n > 1 for n in node.shape) < 2 else None


def layer_of(node: Node, graph: Graph) -> Layer:
    """The call of a module, or the operation alone."""
    return next(layer for layer in graph.layers if node in layer.nodes)


def take_off_softmax(network: nn.Module, input_shape: tuple[int, ...]) -> str:
    """Let `network` end before a last `nn.Softmax`; its name, or nothing where it ends otherwise."""
    if not any(isinstance(m, nn.Softmax) for m in network.modules()):
        return ""
    try:
        graph = trace(network, input_shape)
    except TraceError:
        return ""
    node = squashing(graph)
    last = layer_of(node, graph) if node else None
    if last is None or not isinstance(last.module, nn.Softmax) or not last.path:
        return ""
    if sum(layer.module is last.module for layer in graph.layers) > 1:  # it also works further up
        return ""
    network.set_submodule(last.path, nn.Identity())
    return last.path
