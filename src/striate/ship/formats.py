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

from striate.errors import DataError, StriateError, UsageError, nearest
from striate.ship import graph
from striate.ship.engines import Probabilities, cores
from striate.ship.graph import FORMAT, INPUT
from striate.train.checkpoint import Model

Call = Callable[[NDArray[np.uint8]], Probabilities]
FACTS = "striate.json"  # the extra file inside a .pt2


@dataclass(frozen=True)
class Opened:
    """A file that was read: its facts, and the call from raw pixels uint8 (n, h, w, c) to probabilities (n, k)."""

    path: Path
    facts: Mapping[str, Any]
    call: Call
    runtime: str


@dataclass(frozen=True)
class Format:
    """How a model becomes files of this kind; the first of `suffixes` is the one to name."""

    suffixes: tuple[str, ...]
    write: Callable[[Model, onnx.ModelProto, Path], object]
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


def _write_onnx(model: Model, proto: onnx.ModelProto, path: Path) -> None:
    onnx.save_model(proto, path)


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
        raise DataError(f"{path}: ONNX Runtime can't load it: {_first_line(error)}") from error
    call = lambda images: session.run(None, {INPUT: np.ascontiguousarray(images)})[0]  # noqa: E731
    return Opened(path, facts, call, f"ONNX Runtime {ort.__version__}")


def read_onnx(path: Path) -> onnx.ModelProto:
    """The graph in the file alone; DataError for a damaged file, or one whose weights lie in other files."""
    try:
        proto = onnx.load_model(path, load_external_data=False)
    except FileNotFoundError:
        raise UsageError(f"no file at {path}") from None
    except Exception as error:  # protobuf's, which has no public base
        raise DataError(f"{path} is damaged or no ONNX file: {_first_line(error)}") from error
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


def _write_openvino(model: Model, proto: onnx.ModelProto, path: Path) -> None:
    import openvino

    network = openvino.Core().read_model(proto.SerializeToString())
    for key, value in graph.read_facts(proto).items():
        network.set_rt_info(json.dumps(value), ["striate", key])
    openvino.save_model(network, path, compress_to_fp16=False)


def _open_openvino(path: Path) -> Opened:
    import openvino

    if not path.is_file():
        raise UsageError(f"no file at {path}")
    core = openvino.Core()
    try:
        network = core.read_model(path)
        info = network.get_rt_info(["striate"]).value if network.has_rt_info(["striate"]) else {}
        found = {
            key: json.loads(value.value if hasattr(value, "value") else value) for key, value in info.items()
        }
        compiled = core.compile_model(network, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    except RuntimeError as error:
        raise DataError(f"{path}: OpenVINO can't load it: {_first_line(error)}") from error
    call = lambda images: np.array(compiled([np.ascontiguousarray(images)])[0])  # noqa: E731
    return Opened(path, _checked(found, path), call, f"OpenVINO {openvino.__version__.split('-')[0]}")


def _write_torch(model: Model, proto: onnx.ModelProto, path: Path) -> None:
    import torch

    torch.export.save(graph.program(model), path, extra_files={FACTS: json.dumps(graph.facts(model))})


def _open_torch(path: Path) -> Opened:
    import torch

    if not path.is_file():
        raise UsageError(f"no file at {path}")
    extra = {FACTS: ""}
    try:
        module = torch.export.load(path, extra_files=extra).module()
        found = json.loads(extra[FACTS] or "{}")
    except Exception as error:  # torch raises many kinds for a damaged archive
        raise DataError(f"{path}: torch can't load it: {_first_line(error)}") from error

    def call(images: NDArray[np.uint8]) -> Probabilities:
        with torch.inference_mode():
            return module(torch.from_numpy(np.ascontiguousarray(images))).numpy()

    return Opened(path, _checked(found, path), call, f"torch {torch.__version__}")


def open_answer(path: Path) -> Call:
    """The half of a `.pt2` that answers, for pixels that were cut to size.    uint8 (n, c, *size) -> (n, k)"""
    import torch

    with warnings.catch_warnings():  # of torch about itself
        warnings.simplefilter("ignore")
        answer = torch.export.unflatten(torch.export.load(path)).get_submodule("answer")

    def call(pixels: NDArray[np.uint8]) -> Probabilities:
        with torch.inference_mode():
            return answer(torch.from_numpy(np.ascontiguousarray(pixels)).float()).numpy()

    return call


def _checked(found: Mapping[str, Any], path: Path) -> Mapping[str, Any]:
    if found.get("format") != FORMAT:
        raise DataError(f"{path} was not exported by striate: it says {found.get('format', 'nothing')!r}")
    return found


def _first_line(error: Exception) -> str:
    return next((line.strip() for line in str(error).splitlines() if line.strip()), type(error).__name__)


def files(path: Path) -> list[Path]:
    """`path` and the files that belong to it."""
    return [path, path.with_suffix(".bin")] if path.suffix == ".xml" else [path]


def failure(what: str) -> StriateError:
    """What is raised where an exported file does not do what the network does."""
    return StriateError(what, "nothing was written; please report the network that does this")


FORMATS = {
    "onnx": Format((".onnx",), _write_onnx, _open_onnx),
    "openvino": Format((".xml", ".bin"), _write_openvino, _open_openvino),
    "torch": Format((".pt2",), _write_torch, _open_torch),
}
