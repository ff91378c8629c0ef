"""The ONNX graph of a model file, kept: to capture a network takes seconds, to read a graph does not."""

import os
from contextlib import suppress
from pathlib import Path

import onnx
import torch

import striate
from striate.data.files import home
from striate.files import sha256, write_whole
from striate.ship import graph
from striate.train.checkpoint import Model

KEEP = 32  # graphs in the cache


def converted(model: Model, file: Path, opset: int | None = None) -> onnx.ModelProto:
    """The whole graph of `model`, whose weights lie in `file`; from the cache if it was converted before."""
    if model.origin.get("kind") == "factory":  # whose code may change while the weights stay
        return graph.onnx_model(model, opset)
    version = f"-opset{opset}" if opset else ""
    key = f"{sha256(file)[:32]}-{striate.__version__}-torch{torch.__version__}{version}.onnx"
    known = home() / "ship" / key
    with suppress(Exception):  # whatever is wrong with a cached file, it is made again
        proto = onnx.load_model(known, load_external_data=False)
        if graph.read_facts(proto)["format"] == graph.FORMAT:
            os.utime(known)
            return proto
    proto = graph.onnx_model(model, opset)
    with suppress(OSError):  # a home that can't be written to
        known.parent.mkdir(parents=True, exist_ok=True)
        write_whole(known, lambda p: onnx.save_model(proto, p))
        for old in sorted(known.parent.glob("*.onnx"), key=lambda p: p.stat().st_mtime)[:-KEEP]:
            old.unlink(missing_ok=True)
    return proto
