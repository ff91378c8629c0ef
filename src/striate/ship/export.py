"""One file that takes raw pixels and gives probabilities, proven on the run's own pictures before it is there."""

import json
import os
import tempfile
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import onnx

from striate.data.source import Part
from striate.errors import UsageError
from striate.files import write_text
from striate.ship import formats, graph
from striate.ship.convert import converted
from striate.ship.parity import MAX_DROP, Certificate, compare, insist
from striate.ship.places import certificate_path, facts_path, files
from striate.ship.samples import of_data, of_run, of_split
from striate.train import Model, Run, checkpoint

IMAGES = 256  # of the test split, compared
CALIBRATION = 256  # of the train split


def export(
    run: Run | Path | str,
    to: str = "onnx",
    output: Path | str | None = None,
    int8: bool = False,
    images: int = IMAGES,
    calibration: int = CALIBRATION,
    max_drop: float = MAX_DROP,
    data: Path | str | None = None,
    opset: int | None = None,
) -> Certificate:
    """Write the network as `to`, load it again, compare it on up to `images` pictures of test, else val.

    They are of the run's own data, or of `data`, which a model file alone needs. `opset` is for onnx. Raises
    StriateError, and leaves nothing, where the two disagree; `int8` may lose `max_drop` of accuracy.
    """
    kind = formats.named(to)
    _meant(to, int8, opset)
    file, model = _network(run)
    suffix = kind.suffixes[0]
    target = Path(output) if output else file.parent / f"{file.stem}{'.int8' * int8}{suffix}"
    if target.suffix != suffix:
        raise UsageError(f"{target}: a file for {to} ends in {suffix}", str(target.with_suffix(suffix)))
    if not target.parent.is_dir():
        raise UsageError(f"there is no folder {target.parent}")
    parts = _pictures(run, model, data, int8)
    tests = of_split(parts, model, "test", "val").some(images)

    def make() -> onnx.ModelProto:
        proto = converted(model, file, opset)
        if not int8:
            return proto
        from striate.ship.quantise import quantise

        return quantise(proto, of_split(parts, model, "train").some(calibration))

    with tempfile.TemporaryDirectory(dir=target.parent, prefix=".export-") as folder:
        draft = Path(folder) / target.name
        kind.write(model, make, draft)
        opened = kind.open(draft)
        certificate = compare(model, opened, tests)
        insist(certificate, max_drop)
        certificate = replace(certificate, path=str(target))
        _publish(draft, target, certificate, opened.facts)
    return certificate


def _meant(to: str, int8: bool, opset: int | None) -> None:
    """UsageError for what has no say in a format."""
    if int8 and to == "torch":
        raise UsageError("--int8 is for onnx and openvino", "--to onnx")
    if opset is not None and to != "onnx":
        raise UsageError("--opset is for onnx", "--to onnx")
    if opset is not None and opset not in graph.OPSETS:
        known = f"{graph.OPSETS[0]} to {graph.OPSETS[-1]}"
        raise UsageError(f"--opset {opset}: torch writes {known}", f"--opset {graph.OPSETS[0]} is the oldest")


def _network(run: Run | Path | str) -> tuple[Path, Model]:
    """A run's network, or that of a model file, and the file of its weights."""
    if not isinstance(run, Run) and Path(run).suffix == ".safetensors":
        return Path(run), checkpoint.load(Path(run))
    run = run if isinstance(run, Run) else Run.open(run)
    return run.folder / "model.safetensors", run.model()


def _pictures(run: Run | Path | str, model: Model, data: Path | str | None, int8: bool) -> dict[str, Part]:
    """What to compare on, and to calibrate with."""
    if not isinstance(run, Run) and Path(run).suffix == ".safetensors":
        if data is None:
            raise UsageError(f"{run} says nothing of its data", "--data DATA has pictures to compare on")
        return of_data(data, model, apart=int8)
    run = run if isinstance(run, Run) else Run.open(run)
    return of_run(run) if data is None else of_data(data, model, int8, run.splits)


def _publish(draft: Path, target: Path, certificate: Certificate, facts: Mapping[str, Any]) -> None:
    """Move the files into place, what others refer to first, the certificate before all: a server that watches the
    model finds it complete. A link at the target is replaced, not followed."""
    write_text(facts_path(target), json.dumps(dict(facts), indent=2))
    write_text(certificate_path(target), json.dumps(certificate.to_json(), indent=2))
    for part in reversed(files(draft)):
        with part.open("rb+") as f:
            os.fsync(f.fileno())
        os.replace(part, target.parent / part.name)


def beside(path: Path) -> list[Path]:
    """Every exported file in the folder of `path`, by name."""
    kinds = [kind.suffixes[0] for kind in formats.FORMATS.values()]
    return sorted(p for p in path.parent.iterdir() if p.suffix in kinds and certificate_path(p).is_file())
