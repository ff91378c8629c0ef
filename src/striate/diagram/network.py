"""Diagram to network.

Weights start for the activation that their output meets: He normal before ReLU and its relatives (He et al., 2015,
arXiv:1502.01852, eq. 10), Glorot uniform before tanh and sigmoid, LeCun normal before SELU and where none follows;
biases at 0. All draws come from torch's global generator, so `torch.manual_seed` repeats a network.
"""

from collections import Counter, OrderedDict
from typing import Any

import torch
from torch import nn

from striate import layers
from striate.diagram.flow import Flow, Group, Merge, Step, following
from striate.diagram.parser import parse
from striate.diagram.plan import Plan, plan
from striate.diagram.units import UNITS, Shape


class Network(nn.Sequential):
    """A diagram as a module with children conv1, relu1, pool1, ...    (n, c, h, w) -> (n, k)

    `notes` lists what is legal but probably not meant, such as columns that no window sees.
    """

    diagram: str = ""
    input_shape: Shape = ()
    num_classes: int | None = None
    classifier: str | None = None  # the name of the dense layer that gives the logits
    notes: tuple[str, ...] = ()

    def __init__(self, *modules: Any) -> None:
        super().__init__(*modules)
        self.bindings: dict[str, Any] = {}


class Block(nn.Sequential):
    """A named block of a diagram; `arguments` are the values of its parameters."""

    arguments: dict[str, Any]


def build(
    text: str, /, input_shape: Shape | None = None, num_classes: int | None = None, **bindings: Any
) -> Network:
    """The network of a diagram; input_shape is (c, h, w), `bindings` are its free names (N=2, pool=True).

    >>> net = build("INPUT(28,28,1) => [CONV => RELU => POOL]*N => FC", num_classes=10, N=2)
    >>> [name for name, _ in net.named_children()]
    ['conv1', 'relu1', 'pool1', 'conv2', 'relu2', 'pool2', 'flatten1', 'fc1']
    """
    planned = plan(parse(text), input_shape, num_classes, bindings)
    network = assemble(planned)
    network.diagram, network.bindings = text, bindings
    return network


def assemble(planned: Plan) -> Network:
    """The modules of a plan."""
    after = following(planned.flow)
    network = Network(_children(planned.flow, after))
    network.input_shape, network.num_classes = planned.input_shape, planned.num_classes
    network.notes = planned.notes
    last = next(
        (name for name, child in reversed(list(network.named_modules())) if not list(child.children())), ""
    )
    network.classifier = last if last and isinstance(network.get_submodule(last), nn.Linear) else None
    return network


def _children(flow: Flow, after: dict[int, Any]) -> "OrderedDict[str, nn.Module]":
    """The modules of a flow under names that count each kind."""
    children: OrderedDict[str, nn.Module] = OrderedDict()
    counts: Counter[str] = Counter()
    for node in flow:
        kind, module = _module(node, after)
        counts[kind] += 1
        children[f"{kind}_{counts[kind]}" if kind[-1].isdigit() else f"{kind}{counts[kind]}"] = module
    return children


def _module(node: Step | Merge | Group, after: dict[int, Any]) -> tuple[str, nn.Module]:
    match node:
        case Group(name, body, arguments):
            block = Block(_children(body, after))
            block.arguments = arguments
            return name, block
        case Merge(op, branches):
            merge = layers.Add if op == "+" else layers.Concat
            parts = [nn.Sequential(_children(b, after)) if b else nn.Identity() for b in branches]
            return ("add" if op == "+" else "concat"), merge(*parts)
        case Step(unit):
            return UNITS[unit].called, _layer(node, after)


def _layer(step: Step, after: dict[int, Any]) -> nn.Module:
    """The layer of a step, its weights drawn once: torch's own start is skipped."""
    make = UNITS[step.unit].make
    if "bias" not in step.args:
        module: nn.Module = make(layers, step.x, step.args)
        return module
    with torch.device("meta"):
        module = make(layers, step.x, step.args)
    if torch.get_default_device().type == "meta":
        return module
    # `to_empty` would do, but imports sympy (1 s)
    empty = {k: torch.empty(v.shape, dtype=v.dtype) for k, v in module.state_dict().items()}
    module.load_state_dict(empty, assign=True)
    layers.initialise(module, _scheme(step, after))
    return module


def _scheme(step: Step, after: dict[int, Any]) -> str:
    """How the weights of `step` start: by the first activation before the next weights."""
    node = after[id(step)]
    while isinstance(node, Step):
        unit = UNITS[node.unit]
        if unit.before:
            return unit.before
        if "bias" in node.args:
            break
        node = after[id(node)]
    return "lecun_normal"
