"""Eight-bit weights and activations, by ONNX Runtime's static quantiser on pictures of the train split."""

import contextlib
import copy
import json
import logging
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import onnx

from striate.ship import graph
from striate.ship.graph import INPUT
from striate.ship.samples import Samples, batches


def quantise(proto: onnx.ModelProto, found: Samples) -> onnx.ModelProto:
    """The same graph with the network in int8; fitting the picture and the probabilities stay as they are."""
    from onnxruntime import quantization as q

    kept = [
        node.name
        for node in proto.graph.node
        if not node.name.startswith("answer/") or node.op_type in ("Softmax", "Sigmoid")
    ]
    with tempfile.TemporaryDirectory() as folder, _quiet():
        path = Path(folder) / "int8.onnx"
        q.quantize_static(
            copy.deepcopy(proto),  # which it would change
            path,
            _Reader(found),
            quant_format=q.QuantFormat.QDQ,
            per_channel=True,
            activation_type=q.QuantType.QUInt8,
            # without VNNI, products with signed weights are added in 16 bits: they overflow, or take 7 bits, which
            # costs MobileNet v2 eight points of accuracy
            weight_type=q.QuantType.QUInt8,
            nodes_to_exclude=kept,
        )
        small = onnx.load_model(path)
    del small.metadata_props[:]
    for key, value in {**graph.read_facts(proto), "precision": "int8"}.items():
        small.metadata_props.add(key=f"striate.{key}", value=json.dumps(value))
    return small


class _Reader:
    """Feeds the quantiser; it asks until it gets None."""

    def __init__(self, found: Samples) -> None:
        self._batches = ({INPUT: raw} for raw, _, _ in batches(found, 1))

    def get_next(self) -> dict[str, Any] | None:
        return next(self._batches, None)


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """The quantiser recommends preprocessing, which `graph` has done, on the root logger."""
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        yield
    finally:
        logging.disable(before)
