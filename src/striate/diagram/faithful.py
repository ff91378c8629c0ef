"""What no diagram says though each operation has a word: weights that aren't a layer's own, acts of training alone."""

from collections import Counter

from torch import Tensor, nn

from striate.diagram.graph import Graph, Layer, trace
from striate.diagram.units import Shape
from striate.diagram.words import MODULES, unsayable

STATISTICS = ("running_mean", "running_var", "num_batches_tracked")
ORDER = ("weight", "bias", *STATISTICS)  # which masks and norms that were baked in leave otherwise
BAKE = "torch.nn.utils bakes them in: prune.remove, remove_weight_norm, parametrize.remove_parametrizations"


def refuse_unfaithful(module: nn.Module, shape: Shape, graph: Graph) -> None:
    """UsageError that names the first layer which a diagram of `graph`, traced in eval mode, would change."""
    owners: dict[str, int] = {}
    for layer in needed(graph):
        if any("weight" in node.args for node in layer.nodes):
            _refuse_shared(layer, owners)
            _refuse_computed(layer, graph, module)
    _refuse_training_acts(graph, trace(module, shape, batch=2, leaves=tuple(MODULES), training=True))


def needed(graph: Graph) -> list[Layer]:
    """The layers on a path to the first output, in order."""
    wanted = {graph.outputs[0]}
    found = []
    for layer in reversed(graph.layers):
        if wanted & {node.id for node in layer.nodes}:
            found.append(layer)
            wanted |= {i for node in layer.nodes for i in node.inputs}
    return found[::-1]


def tensors(module: nn.Module) -> dict[str, Tensor]:
    """The state dict of a layer in the order of its unit's."""
    state = module.state_dict()
    return {
        key: state[key] for key in sorted(state, key=lambda key: ORDER.index(key) if key in ORDER else -1)
    }


def _weights(layer: Layer) -> list[str]:
    """The parameters that enter, in the order of use."""
    return list(dict.fromkeys(name for node in layer.nodes for name in node.params))


def _refuse_shared(layer: Layer, owners: dict[str, int]) -> None:
    """Each weight enters one unit: a layer that has a word, or an operation."""
    whole = type(layer.module) in MODULES
    for node in layer.nodes:
        unit = layer.output.id if whole else node.id
        for name in node.params:
            if owners.setdefault(name, unit) != unit:
                raise unsayable(
                    f"weights that are used twice ({name})", layer.path, "each layer has its own there"
                )


def _refuse_computed(layer: Layer, graph: Graph, module: nn.Module) -> None:
    """Masks, weight norm, spectral norm, fixed kernels: a unit's weights are all that its layer holds, as they are."""
    inside = f"{layer.path}." if layer.path else ""
    held = [inside + key for key in tensors(module.get_submodule(layer.path))]
    used, plain = _weights(layer), [key for key in held if not key.endswith(STATISTICS)]
    computed = graph.reworked.intersection(used) and type(layer.module) not in MODULES
    if computed or used != plain:
        raise unsayable(f"weights made of {', '.join(held)}", layer.path, BAKE)


def _refuse_training_acts(graph: Graph, learning: Graph) -> None:
    """Stochastic depth, noise and the like leave no trace in eval mode."""
    here, there = _acts(graph), _acts(learning)
    for path, kind, op in (*there, *here):
        more = there[path, kind, op] - here[path, kind, op]
        if more:
            raise unsayable(f"what {kind} does in {'training' if more > 0 else 'evaluation'} alone", path)
    for mode, traced in ((False, graph), (True, learning)):
        for layer in needed(traced):
            if any(node.args.get("training", mode) is not mode for node in layer.nodes):
                raise unsayable(f"{layer.type} that is the same in training and evaluation", layer.path)


def _acts(graph: Graph) -> Counter[tuple[str, str, str]]:
    """How often each part does what, those aside whose units are told by their modules."""
    return Counter(
        (node.path, layer.type, node.op)
        for layer in needed(graph)
        if type(layer.module) not in MODULES
        for node in layer.nodes
        if node.op != "identity"
    )
