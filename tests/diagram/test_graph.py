"""The trace is held against what is known by hand, and against torchvision's networks."""

import copy
import functools
import warnings
from typing import Any

import pytest
import torch
import torch.nn.functional as F
import torchvision
from torch import Tensor, nn
from torch.nn.utils import parametrizations, prune
from torchvision.ops import StochasticDepth

from striate.diagram.graph import Graph, trace
from striate.diagram.meta import TraceError


def ops(graph: Graph) -> list[str]:
    return [node.op for node in graph.nodes]


def test_every_spelling_of_an_operation_has_one_name() -> None:
    class Net(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            x = F.relu(x, inplace=True)
            x = torch.relu_(x).relu()
            x += x
            x = 1 + x
            x = F.max_pool2d(x, 2)
            x = x.view(x.size(0), -1)
            return x * 0.5

    graph = trace(Net(), (3, 8, 6))
    assert ops(graph) == ["input", "relu", "relu", "relu", "add", "add", "max_pool2d", "flatten", "mul"]
    assert [node.inputs for node in graph.nodes] == [(), (0,), (1,), (2,), (3, 3), (4,), (5,), (6,), (7,)]
    assert graph.outputs == (8,)
    assert graph.nodes[6].args["kernel_size"] == graph.nodes[6].args["stride"] == (2, 2)
    assert graph.nodes[7].shape == (1, 3 * 4 * 3)


def test_windows_are_given_as_height_and_width_with_four_pads() -> None:
    net = nn.Sequential(
        nn.Conv2d(3, 8, (3, 5), stride=(2, 1), padding=(0, 2), dilation=(1, 2)),
        nn.Conv2d(8, 8, 4, padding="same", groups=4),
        nn.ZeroPad2d((1, 2, 3, 4)),
        nn.AvgPool2d(3, 2, 1),
    )
    conv, same, pad, pool = trace(net, (3, 32, 32)).nodes[1:]
    assert (conv.args["kernel_size"], conv.args["stride"], conv.args["dilation"]) == ((3, 5), (2, 1), (1, 2))
    assert conv.args["pads"] == (0, 0, 2, 2)
    assert same.args["pads"] == (1, 2, 1, 2)
    assert same.args["weight"] == (8, 2, 4, 4)
    assert same.params == ("1.weight", "1.bias")
    assert pad.args["pad"] == (1, 2, 3, 4)
    assert pool.args["pads"] == (1, 1, 1, 1)


def test_shared_modules_are_seen_once_per_call() -> None:
    net = torchvision.models.resnet18()
    graph = trace(net, (3, 64, 64))
    calls = [layer for layer in graph.layers if layer.path == "layer1.0.relu"]
    assert len(calls) == 2
    assert calls[0].module is net.layer1[0].relu
    assert [layer.type for layer in graph.layers if layer.module is None] == ["add"] * 8 + ["flatten"]
    (add,) = [node for node in graph.nodes if node.path == "layer1.0" and node.op == "add"]
    assert [graph.nodes[i].path for i in add.inputs] == ["layer1.0.bn2", "maxpool"]


def test_a_leaf_with_several_operations_is_one_layer() -> None:
    class Same(nn.Conv2d):
        def forward(self, x: Tensor) -> Tensor:
            return super().forward(F.pad(x, (0, 1, 0, 1)))

    class Gate(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.fc = nn.Linear(4, 4)

        def forward(self, x: Tensor) -> Tensor:
            return x * torch.sigmoid(self.fc(x.mean((2, 3))))[:, :, None, None]

    net = nn.Sequential(Same(3, 4, 3, stride=2), Gate(), nn.Identity())
    conv, gate, skip = trace(net, (3, 8, 8), leaves=(Gate,)).layers
    assert [node.op for node in conv.nodes] == ["pad", "conv2d"]
    assert [node.op for node in gate.nodes] == ["mean", "linear", "sigmoid", "getitem", "mul"]
    assert (gate.inputs, gate.nodes[1].path) == ((conv.output.id,), "1.fc")
    assert [node.op for node in skip.nodes] == ["identity"]
    assert [layer.type for layer in trace(net, (3, 8, 8)).layers][1:4] == ["mean", "Linear", "sigmoid"]


def test_identity_and_dropout_keep_the_branches_apart() -> None:
    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.skip, self.drop, self.conv = nn.Identity(), nn.Dropout(0.5), nn.Conv2d(3, 3, 1)

        def forward(self, x: Tensor) -> Tensor:
            return self.skip(x) + self.drop(x) + self.conv(x)

    graph = trace(Net(), (3, 4, 4))
    assert ops(graph) == ["input", "identity", "dropout", "add", "conv2d", "add"]
    assert [node.inputs for node in graph.nodes[1:]] == [(0,), (0,), (1, 2), (0,), (3, 4)]
    assert graph.users[0] == (1, 2, 4)
    assert [node.fresh for node in graph.nodes[1:]] == [False, False, True, True, True]


def test_writes_through_a_view_are_not_lost() -> None:
    class Net(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            y = x + 1
            y[:, :1].relu_()
            z = torch.zeros(1, 6, 4, 4)
            z[:, 3:] = y
            return z

    graph = trace(Net(), (3, 4, 4))
    assert ops(graph) == ["input", "add", "getitem", "relu", "write", "setitem"]
    assert graph.nodes[4].inputs == (1, 3)
    assert graph.outputs == (5,)


class Residual(nn.Module):
    """x + handed_back(ReLU of a convolution), the sum in place, and then the sum read under both its names."""

    def __init__(self, handed_back: nn.Module) -> None:
        super().__init__()
        self.conv, self.act, self.handed_back = (
            nn.Conv2d(3, 3, 3, padding=1),
            nn.ReLU(inplace=True),
            handed_back,
        )

    def forward(self, x: Tensor) -> Tensor:
        y = self.act(self.conv(x))
        z = self.handed_back(y)
        z += x
        return y * z


@pytest.mark.parametrize(
    "handed_back",
    [nn.Identity(), nn.Dropout(), nn.Sequential(nn.Dropout2d(), nn.Identity()), StochasticDepth(0.5, "row")],
    ids=lambda m: type(m).__name__,
)
def test_in_place_work_on_what_was_handed_back_is_one_tensor_with_two_names(handed_back: nn.Module) -> None:
    graph = trace(Residual(handed_back), (3, 4, 4))
    assert "write" not in ops(graph)
    add, product = graph.nodes[-2:]
    assert (add.op, add.inputs[1]) == ("add", 0)
    assert product.inputs == (add.id, add.id)


def test_a_part_that_hands_one_of_its_inputs_back_reads_that_one_alone() -> None:
    class First(nn.Module):
        def forward(self, pair: list[Tensor]) -> Tensor:
            return pair[0]

    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first = First()

        def forward(self, x: Tensor) -> Tensor:
            return self.first([x * 2, x + 1])

    assert [(node.op, node.inputs) for node in trace(Net(), (3, 4, 4)).nodes[1:]] == [
        *(("mul", (0,)), ("add", (0,)), ("identity", (1,)))
    ]


def test_a_write_beside_a_slice_leaves_it_alone() -> None:
    class Net(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            first, second = (x + 1).chunk(2, 1)
            first.relu_()
            first *= 2
            return second

    graph = trace(Net(), (6, 4, 4))
    assert ops(graph) == ["input", "add", "chunk", "chunk", "relu", "mul"]
    assert graph.outputs == (3,)


def test_every_write_into_parts_of_a_tensor_is_kept() -> None:
    class Net(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            y = x + 1
            y[:, :1].relu_()
            y[:, 1:].sigmoid_()
            return y * 1

    graph = trace(Net(), (3, 4, 4))
    assert [(node.op, node.inputs) for node in graph.nodes[3:]] == [
        *(("relu", (2,)), ("write", (1, 3)), ("getitem", (4,)), ("sigmoid", (5,)), ("write", (4, 6))),
        ("mul", (7,)),
    ]


def test_arguments_go_by_one_name_and_shapes_of_others_are_no_inputs() -> None:
    class Net(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            y = x.mean(axis=1, keepdims=True)
            return torch.cat((y.expand_as(x), x), axis=1)

    mean, expand, cat = trace(Net(), (3, 4, 4)).nodes[1:]
    assert (mean.args["dim"], mean.args["keepdim"]) == (1, True)
    assert (expand.op, expand.inputs) == ("expand", (1,))
    assert cat.args["dim"] == 1


def test_compiled_networks_are_those_beneath_and_torchscript_is_refused_by_name() -> None:
    net = nn.Sequential(nn.Conv2d(3, 4, 3), nn.Sequential(nn.Conv2d(4, 4, 3), nn.ReLU()))
    plain = trace(net, (3, 8, 8))
    compile = functools.partial(torch.compile, backend="eager")
    inside = nn.Sequential(net[0], compile(net[1]))
    for compiled in (compile(net), inside, compile(inside)):
        graph = trace(compiled, (3, 8, 8))
        assert graph.nodes == plain.nodes
        assert [layer.module for layer in graph.layers] == [net[0], net[1][0], net[1][1]]
    assert type(inside[1]) is not nn.Sequential
    with (
        warnings.catch_warnings(action="ignore"),
        pytest.raises(TraceError, match=r"^1 is TorchScript") as error,
    ):
        trace(nn.Sequential(net[0], torch.jit.script(net[1])), (3, 8, 8))
    assert error.value.hint == "give the network that was scripted or traced"


def test_several_outputs_are_several_nodes() -> None:
    class Net(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            a, b = x.chunk(2, dim=1)
            return torch.cat((b, a), 1)

    graph = trace(Net(), (6, 4, 4))
    assert [(node.op, node.inputs, node.args.get("output")) for node in graph.nodes[1:]] == [
        ("chunk", (0,), 0),
        ("chunk", (0,), 1),
        ("cat", (2, 1), None),
    ]


def test_the_module_stays_untouched() -> None:
    net = nn.Sequential(
        nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Dropout(), nn.Flatten(), nn.Linear(144, 2)
    ).train()
    seen: list[int] = []
    net[0].register_forward_hook(lambda *_: seen.append(1))
    before, rng = copy.deepcopy(net.state_dict()), torch.get_rng_state()
    trace(net, (3, 8, 8))
    assert net.training
    assert net[2].training
    assert len(net[0]._forward_hooks) == 1
    assert seen == []
    assert all(torch.equal(a, b) for a, b in zip(before.values(), net.state_dict().values(), strict=True))
    assert torch.equal(rng, torch.get_rng_state())
    assert next(net.parameters()).grad is None


def test_parametrised_and_pruned_weights_do_not_become_nodes() -> None:
    net = nn.Sequential(nn.Conv2d(3, 4, 3), nn.Conv2d(4, 4, 3))
    parametrizations.weight_norm(net[0])
    prune.l1_unstructured(net[1], "weight", 0.5)
    graph = trace(net, (3, 8, 8))
    assert ops(graph) == ["input", "conv2d", "conv2d"]
    assert [layer.module for layer in graph.layers] == [net[0], net[1]]
    assert sorted(graph.nodes[1].params) == sorted(name for name, _ in net[0].named_parameters("0"))


@pytest.mark.parametrize("name", ["densenet121", "shufflenet_v2_x1_0", "efficientnet_b0"])
def test_shapes_are_those_of_a_real_forward_pass(name: str) -> None:
    net = getattr(torchvision.models, name)().eval()
    shapes: list[tuple[str, tuple[int, ...]]] = []
    for path, module in net.named_modules():
        if not module._modules:
            module.register_forward_hook(
                lambda m, i, y, path=path: shapes.append((path, tuple(y.shape)))  # type: ignore[misc]
            )
    graph = trace(net, (3, 64, 64))
    with torch.no_grad():
        net(torch.zeros(1, 3, 64, 64))
    assert [(layer.path, layer.output.shape) for layer in graph.layers if layer.module is not None] == shapes


def test_reasons_are_given_where_a_trace_is_impossible() -> None:
    class ByValue(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return x if x.sum() > 0 else -x

    with pytest.raises(TraceError, match=r"of 0 \(ByValue\(\)\) depends on the values of the image"):
        trace(nn.Sequential(ByValue()), (3, 8, 8))
    with pytest.raises(TraceError, match=r"^1 \(Conv2d\(8, 4, .* cannot take .*\(1, 3, 8, 8\)"):
        trace(nn.Sequential(nn.Identity(), nn.Conv2d(8, 4, 3)), (3, 8, 8))
    with pytest.raises(TraceError, match="lazy layers"):
        trace(nn.Sequential(nn.LazyConv2d(4, 3)), (3, 8, 8))


def test_inference_mode_changes_nothing() -> None:
    net = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(inplace=True))
    plain = trace(net, (3, 8, 8))
    with torch.inference_mode():
        assert trace(net, (3, 8, 8)).nodes == plain.nodes


@pytest.mark.parametrize(
    ("thing", "told"),
    [(nn.ReLU, "the class ReLU"), (torch.relu, "a builtin_function_or_method"), ({"w": 1}, "a dict")],
)
def test_what_is_no_network_is_refused(thing: Any, told: str) -> None:
    with pytest.raises(TraceError, match=f"^a network is an nn.Module, not {told}$"):
        trace(thing, (3, 8, 8))


@pytest.mark.parametrize("shape", [(), (3, 0, 8), (3, -1, 8), (3, 8.5, 8)])
def test_an_impossible_input_is_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(TraceError, match="positive whole numbers"):
        trace(nn.Flatten(), shape)
    with pytest.raises(TraceError, match="no memory holds"):
        trace(nn.Flatten(), (3, 2**31, 2**31))


def test_a_module_that_shapes_cannot_see_into_is_opaque() -> None:
    class Foreign(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return torch.empty(1, 5, device="meta")

    assert ops(trace(nn.Sequential(Foreign(), nn.ReLU()), (3, 8, 8))) == ["input", "opaque", "relu"]
