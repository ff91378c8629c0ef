"""The runtime that answers fastest on this machine: OpenVINO on x86, ONNX Runtime elsewhere, torch on a GPU."""

import importlib.util
import os
import platform
import threading
from collections.abc import Callable, Mapping
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray

from striate.errors import UsageError, nearest
from striate.train.checkpoint import Model
from striate.train.losses import to_probabilities

if TYPE_CHECKING:  # torch alone answers where the extra packages aren't installed
    import onnx

ENGINES = ("auto", "openvino", "onnx", "torch")
Probabilities = NDArray[np.float32]
Answers = Callable[[NDArray[np.uint8]], Probabilities]  # uint8 (n, c, *size) -> (n, k)


def pick(wanted: str = "auto") -> str:
    """`auto` resolved; raises UsageError for an engine that is unknown or not installed."""
    if wanted not in ENGINES:
        raise UsageError(f"unknown engine {wanted!r}", nearest(wanted, ENGINES) or ", ".join(ENGINES))
    package = {"openvino": "openvino", "onnx": "onnxruntime"}
    there = {name: importlib.util.find_spec(p) is not None for name, p in package.items()}
    if wanted == "auto":
        if torch.cuda.is_available():
            return "torch"
        x86 = platform.machine().lower() in ("x86_64", "amd64", "i386", "i686")
        return "openvino" if x86 and there["openvino"] else "onnx" if there["onnx"] else "torch"
    if not there.get(wanted, True):
        raise UsageError(f"{package[wanted]} is not installed", "pip install 'striate[ship]'")
    return wanted


def of_model(model: Model, file: Path, engine: str) -> Answers:
    """An engine for a trained model; `file` holds its weights, by which the converted graph is kept for next time."""
    if engine == "torch":
        return _torch(model)
    from striate.ship.convert import converted
    from striate.ship.graph import answering

    return of_graph(answering(converted(model, file)), engine)


def of_graph(proto: "onnx.ModelProto", engine: str) -> Answers:
    """An engine for the answering half of a graph."""
    if engine == "openvino":
        import openvino

        return _compiled(openvino.Core().read_model(proto.SerializeToString()))
    import onnxruntime as ort

    options = ort.SessionOptions()
    options.intra_op_num_threads = cores()
    options.log_severity_level = 3
    session = ort.InferenceSession(proto.SerializeToString(), options, providers=["CPUExecutionProvider"])
    name = session.get_inputs()[0].name
    return lambda pixels: session.run(None, {name: np.ascontiguousarray(pixels)})[0]


def of_file(path: Path, preprocess: Mapping[str, Any]) -> Answers:
    """An engine for an exported file, without the part that fits the picture."""
    if path.suffix == ".onnx":
        from striate.ship import formats, graph

        return of_graph(graph.answering(formats.read_onnx(path)), "onnx")
    if path.suffix == ".xml":
        import openvino

        return _compiled(_cut(openvino.Core().read_model(path), preprocess))
    from striate.ship.formats import open_answer

    return open_answer(path)


def _compiled(network: Any) -> Answers:
    """OpenVINO in its own arithmetic: bfloat16 where that is native. One request at a time uses every core."""
    import openvino

    settings = {"PERFORMANCE_HINT": "LATENCY", "INFERENCE_NUM_THREADS": cores()}
    core, lock = openvino.Core(), threading.Lock()

    @cache
    def request(batch: int | None) -> Any:
        """Compiled for one size of batch, which is 5 % faster for one picture, or for any."""
        fixed = network.clone()
        if batch is not None:
            fixed.reshape([batch, *list(network.input(0).partial_shape)[1:]])
        return core.compile_model(fixed, "CPU", settings).create_infer_request()

    request(None)  # what is wrong with a graph shows now

    def answers(pixels: NDArray[np.uint8]) -> Probabilities:
        with lock:
            asked = request(1 if len(pixels) == 1 else None)
            return np.array(asked.infer([np.ascontiguousarray(pixels)])[0])

    return answers


def _cut(network: Any, preprocess: Mapping[str, Any]) -> Any:
    import openvino
    from openvino import opset13 as ops

    from striate.ship import graph

    entry = ops.parameter([-1, preprocess["channels"], *preprocess["size"]], np.uint8, name=graph.RAW)
    floats = ops.convert(entry, np.float32).output(0)
    found = next(o for op in network.get_ops() for o in op.outputs() if graph.PIXELS in o.get_names())
    for reader in found.get_target_inputs():
        reader.replace_source_output(floats)
    for reader in network.input(graph.INPUT).get_target_inputs():  # what asks for the size of the batch
        reader.replace_source_output(entry.output(0))
    return openvino.Model(network.get_results(), [entry], "answer")


def _torch(model: Model) -> Answers:
    engine = model.engine()
    lock = threading.Lock()

    def answers(pixels: NDArray[np.uint8]) -> Probabilities:
        with lock, engine.inference():
            logits = engine(torch.from_numpy(np.ascontiguousarray(pixels)))
            return to_probabilities(logits, model.several).cpu().numpy()

    return answers


def cores() -> int:
    """Processors that this process may use, or the number in OMP_NUM_THREADS."""
    told = os.environ.get("OMP_NUM_THREADS", "")
    if told.isdigit() and int(told):
        return int(told)
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
