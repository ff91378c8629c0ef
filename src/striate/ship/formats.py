"""Three kinds of file, each written from the same model and read again by the runtime it is for."""

import json
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray

from striate.errors import DataError, StriateError, UsageError, nearest, one_line
from striate.ship import graph
from striate.ship.archive import FACTS, facts_in
from striate.ship.engines import Probabilities, cores
from striate.ship.graph import FORMAT, INPUT
from striate.train.checkpoint import Model

Call = Callable[[NDArray[np.uint8]], Probabilities]
Facts = Mapping[str, Any]
Make = Callable[[], onnx.ModelProto]  # the graph of the model, made only where it is asked for


@dataclass(frozen=True)
class Opened:
    """A file that was read: its facts, and the call from raw pixels uint8 (n, h, w, c) to probabilities (n, k)."""

    path: Path
    facts: Facts
    call: Call
    runtime: str


@dataclass(frozen=True)
class Format:
    """How a model becomes files of this kind; the first of `suffixes` is the one to name.

    `facts` reads what a file says about itself, without compiling it.
    """

    suffixes: tuple[str, ...]
    write: Callable[[Model, Make, Path], object]
    facts: Callable[[Path], Facts]
    open: Callable[[Path], Opened]


def of(path: Path) -> Format:
    """The format that the name of a file says."""
    for kind in FORMATS.values():
        if path.suffix == kind.suffixes[0]:
            return kind
    known = ", ".join(kind.suffixes[0] for kind in FORMATS.values())
    raise UsageError(f"{path}: unknown kind of exported file", f"known are {known}")


def named(name: str) -> Format:
    """`onnx`, `openvino` or `torch`."""
    if name not in FORMATS:
        raise UsageError(f"--to: unknown format {name!r}", nearest(name, FORMATS) or ", ".join(FORMATS))
    return FORMATS[name]


def _write_onnx(model: Model, make: Make, path: Path) -> None:
    onnx.save_model(make(), path)


def _facts_onnx(path: Path) -> Facts:
    return _checked(graph.read_facts(read_onnx(path)), path)


def _open_onnx(path: Path) -> Opened:
    import onnxruntime as ort

    proto = read_onnx(path)
    facts = _checked(graph.read_facts(proto), path)
    options = ort.SessionOptions()
    options.intra_op_num_threads = cores()
    options.log_severity_level = 3
    try:
        session = ort.InferenceSession(proto.SerializeToString(), options, providers=["CPUExecutionProvider"])
    except Exception as error:  # its own kinds of exception, none of them public
        raise DataError(f"{path}: ONNX Runtime can't load it: {one_line(error)}") from error
    call = lambda images: session.run(None, {INPUT: np.ascontiguousarray(images)})[0]  # noqa: E731
    return Opened(path, facts, call, f"ONNX Runtime {ort.__version__}")


def read_onnx(path: Path) -> onnx.ModelProto:
    """The graph in the file alone; DataError for a damaged file, or one whose weights lie in other files."""
    try:
        proto = onnx.load_model(path, load_external_data=False)
    except FileNotFoundError:
        raise UsageError(f"no file at {path}") from None
    except Exception as error:  # protobuf's, which has no public base
        raise DataError(f"{path} is damaged or no ONNX file: {one_line(error)}") from error
    if _refers_elsewhere(proto):
        raise DataError(f"{path} refers to data outside of itself; that is never followed")
    return proto


def _refers_elsewhere(message: Any) -> bool:
    """Whether any tensor, however deep in subgraphs, sparse or attribute, names another file."""
    if isinstance(message, onnx.TensorProto):
        return bool(message.external_data) or message.data_location == onnx.TensorProto.EXTERNAL
    for field, value in message.ListFields():
        if field.message_type is None:
            continue
        parts = value if hasattr(value, "__len__") and not hasattr(value, "ListFields") else [value]
        if any(hasattr(part, "ListFields") and _refers_elsewhere(part) for part in parts):
            return True
    return False


def _write_openvino(model: Model, make: Make, path: Path) -> None:
    import openvino

    proto = make()
    network = openvino.Core().read_model(proto.SerializeToString())
    for key, value in graph.read_facts(proto).items():
        network.set_rt_info(json.dumps(value), ["striate", key])
    openvino.save_model(network, path, compress_to_fp16=False)


def _facts_openvino(path: Path) -> Facts:
    return _read_openvino(path)[1]


def _read_openvino(path: Path) -> tuple[Any, Facts]:
    import openvino

    if not path.is_file():
        raise UsageError(f"no file at {path}")
    try:
        network = openvino.Core().read_model(path)
        info = network.get_rt_info(["striate"]).value if network.has_rt_info(["striate"]) else {}
    except RuntimeError as error:
        raise DataError(f"{path}: OpenVINO can't load it: {one_line(error)}") from error
    found = {key: json.loads(getattr(value, "value", value)) for key, value in info.items()}
    return network, _checked(found, path)


def _open_openvino(path: Path) -> Opened:
    import openvino

    network, facts = _read_openvino(path)
    try:
        compiled = openvino.Core().compile_model(network, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    except RuntimeError as error:
        raise DataError(f"{path}: OpenVINO can't load it: {one_line(error)}") from error
    call = lambda images: np.array(compiled([np.ascontiguousarray(images)])[0])  # noqa: E731
    return Opened(path, facts, call, f"OpenVINO {openvino.__version__.split('-')[0]}")


def _write_torch(model: Model, make: Make, path: Path) -> None:
    import torch

    program = graph.program(model)
    program.example_inputs = None  # torch would write them as a pickle
    torch.export.save(program, path, extra_files={FACTS: json.dumps(graph.facts(model))})


def _facts_torch(path: Path) -> Facts:
    return _checked(facts_in(path), path)


def _open_torch(path: Path) -> Opened:
    import torch

    facts = _facts_torch(path)
    module = _load_torch(path).module()

    def call(images: NDArray[np.uint8]) -> Probabilities:
        with torch.inference_mode():
            return module(torch.from_numpy(np.ascontiguousarray(images))).numpy()

    return Opened(path, facts, call, f"torch {torch.__version__}")


def open_answer(path: Path) -> Call:
    """The half of a `.pt2` that answers, for pixels that were cut to size.    uint8 (n, c, *size) -> (n, k)"""
    import torch

    facts_in(path)
    with warnings.catch_warnings():  # of torch about itself
        warnings.simplefilter("ignore")
        answer = torch.export.unflatten(_load_torch(path)).get_submodule("answer")

    def call(pixels: NDArray[np.uint8]) -> Probabilities:
        with torch.inference_mode():
            return answer(torch.from_numpy(np.ascontiguousarray(pixels)).float()).numpy()

    return call


def _load_torch(path: Path) -> Any:
    """A program from an archive in which `facts_in` found nothing but numbers."""
    import torch

    try:
        return torch.export.load(path)
    except Exception as error:  # torch raises many kinds for a damaged archive
        raise DataError(f"{path}: torch can't load it: {one_line(error)}") from error


def _checked(found: Mapping[str, Any], path: Path) -> Mapping[str, Any]:
    if found.get("format") != FORMAT:
        raise DataError(f"{path} was not exported by striate: it says {found.get('format', 'nothing')!r}")
    return found


def failure(what: str) -> StriateError:
    """What is raised where an exported file does not do what the network does."""
    return StriateError(what, "nothing was written; please report the network that does this")


FORMATS = {
    "onnx": Format((".onnx",), _write_onnx, _facts_onnx, _open_onnx),
    "openvino": Format((".xml", ".bin"), _write_openvino, _facts_openvino, _open_openvino),
    "torch": Format((".pt2",), _write_torch, _facts_torch, _open_torch),
}
