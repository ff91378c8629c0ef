"""A trained model as a graph: for torch, and in ONNX with batch norm folded and nothing of this machine in it."""

import ast
import json
import warnings
from typing import Any

import onnx
import torch
from torch.export import Dim, ExportedProgram

import striate
from striate.errors import StriateError, one_line
from striate.ship.pixels import Classifier
from striate.train.checkpoint import Model

FORMAT = "striate ship 1"
INPUT, PIXELS, OUTPUT = "images", "pixels", "probabilities"  # PIXELS lie between fitting and the network
RAW = "raw"  # the input of the answering half
OPSETS = range(18, 25)  # of ONNX, that torch writes whatever the network; below, it would change nothing
AXES = ("batch", "height", "width")


def facts(model: Model, precision: str = "fp32") -> dict[str, Any]:
    """What the file says about itself, every value fit for JSON."""
    colours = "RGB" if model.preprocess.channels == 3 else "grey"
    return {
        "format": FORMAT,
        "version": striate.__version__,
        "classes": list(model.classes),
        "preprocess": model.preprocess.to_dict(),
        "metrics": model.metrics,
        "several": model.several,
        "precision": precision,
        "input": f"{INPUT}: uint8 (n, h, w, {model.preprocess.channels}), {colours}, any n, h and w",
        "output": f"{OUTPUT}: float32 (n, {len(model.classes)}), in the order of classes",
    }


def program(model: Model) -> ExportedProgram:
    """The whole classifier as torch's own graph; raises StriateError where the network can't be captured."""
    example = torch.zeros(2, 41, 53, model.preprocess.channels, dtype=torch.uint8)
    shapes = (dict.fromkeys(range(len(AXES)), Dim.DYNAMIC),)
    try:
        with warnings.catch_warnings(), torch.no_grad():
            warnings.simplefilter("ignore")
            exported = torch.export.export(Classifier(model), (example,), dynamic_shapes=shapes)
    except Exception as error:  # torch raises many kinds, with pages of text
        raise StriateError(f"the network can't be captured as a graph: {one_line(error)}") from error
    for node in exported.graph.nodes:  # where its source lies on this machine
        node.meta.pop("stack_trace", None)
    return exported


def onnx_model(model: Model, opset: int | None = None) -> onnx.ModelProto:
    """The whole classifier in ONNX, its facts in the metadata; `opset` is one of `OPSETS`, the usual one if None."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        exported = torch.onnx.export(
            program(model),
            (),
            input_names=[INPUT],
            output_names=[OUTPUT],
            opset_version=opset,
            verbose=False,
            dynamo=True,
        )
    assert exported is not None
    proto = exported.model_proto
    # where it can't, torch writes another one and says so in its log
    if opset not in (
        None,
        opset_of(proto),
    ):
        raise StriateError(f"--opset {opset}: torch writes this network in {opset_of(proto)}")
    _name(proto.graph)
    for key, value in facts(model).items():
        proto.metadata_props.add(key=f"striate.{key}", value=json.dumps(value))
    proto.producer_name, proto.producer_version = "striate", striate.__version__
    onnx.checker.check_model(proto)
    return proto


def opset_of(proto: onnx.ModelProto) -> int:
    """The version of ONNX's own operators that a graph is written in."""
    return next(i.version for i in proto.opset_import if i.domain in ("", "ai.onnx"))


def read_facts(proto: onnx.ModelProto) -> dict[str, Any]:
    """The facts that `onnx_model` wrote; empty for a file of somebody else."""
    pairs = ((p.key.removeprefix("striate."), p.value) for p in proto.metadata_props if "striate." in p.key)
    return {key: json.loads(value) for key, value in pairs}


def _name(graph: onnx.GraphProto) -> None:
    """Nodes are called after the module that they come from, and the tensor between the two halves `PIXELS`."""
    boundary = ""
    for number, node in enumerate(graph.node):
        scopes = next((p.value for p in node.metadata_props if p.key == "pkg.torch.onnx.name_scopes"), "[]")
        path = [s for s in ast.literal_eval(scopes)[:-1] if s.split(".")[0] in ("fit", "answer")]
        where = path[-1].replace(".", "/") if path else "shape"
        node.name = f"{where}/{node.op_type}_{number}"
        boundary = node.output[0] if where == "fit" else boundary
        del node.metadata_props[:]
        node.doc_string = ""
    for node in graph.node:
        for names in (node.input, node.output):
            for i, name in enumerate(names):
                names[i] = PIXELS if name == boundary else name
    for value in [*graph.input, *graph.output, *graph.value_info, *graph.initializer]:
        del value.metadata_props[:]
    for value in graph.value_info:
        value.name = PIXELS if value.name == boundary else value.name
    for value in (*graph.input, *graph.output):
        for axis, dim in zip(AXES, value.type.tensor_type.shape.dim, strict=False):
            if dim.dim_param:
                dim.dim_param = axis
    del graph.value_info[:]
    del graph.metadata_props[:]


def answering(proto: onnx.ModelProto) -> onnx.ModelProto:
    """The half that answers: `PIXELS`, uint8 (n, c, *size), to probabilities."""
    maker = {name: node for node in proto.graph.node for name in node.output}
    needed, wanted = set(), [OUTPUT]
    while wanted:
        name = wanted.pop()
        if name != PIXELS and name in maker and maker[name].name not in needed:
            needed.add(maker[name].name)
            wanted += maker[name].input
    cut = onnx.ModelProto()
    cut.CopyFrom(proto)
    nodes = [node for node in cut.graph.node if node.name in needed]
    for node in nodes:  # the size of the batch is on the first axis of either
        for i, name in enumerate(node.input):
            node.input[i] = RAW if name == INPUT else name
    p = read_facts(proto)["preprocess"]
    shape = [AXES[0], p["channels"], *p["size"]]
    entry = onnx.helper.make_tensor_value_info(RAW, onnx.TensorProto.UINT8, shape)
    cast = onnx.helper.make_node("Cast", [RAW], [PIXELS], "cast", to=onnx.TensorProto.FLOAT)
    used = {name for node in nodes for name in node.input}
    weights = [t for t in cut.graph.initializer if t.name in used]
    for field, kept in (("node", [cast, *nodes]), ("initializer", weights), ("input", [entry])):
        del getattr(cut.graph, field)[:]
        getattr(cut.graph, field).extend(kept)
    return cut
