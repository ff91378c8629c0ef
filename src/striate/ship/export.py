"""One file that takes raw pixels and gives probabilities, proven on the run's own pictures before it is there."""

import json
import os
import tempfile
from dataclasses import replace
from pathlib import Path

import onnx

from striate.errors import UsageError
from striate.files import write_text
from striate.ship import formats
from striate.ship.convert import converted
from striate.ship.parity import MAX_DROP, Certificate, compare, insist
from striate.ship.places import certificate_path, files
from striate.ship.samples import samples
from striate.train import Run

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
) -> Certificate:
    """Write the run's network as `to`, load it again, compare it on up to `images` pictures of test, else val.

    Raises StriateError, and leaves nothing, where it disagrees; `int8` may lose `max_drop` of accuracy.
    """
    run = run if isinstance(run, Run) else Run.open(run)
    kind = formats.named(to)
    if int8 and to == "torch":
        raise UsageError("--int8 is for onnx and openvino", "--to onnx")
    suffix = kind.suffixes[0]
    target = Path(output) if output else run.folder / f"model{'.int8' * int8}{suffix}"
    if target.suffix != suffix:
        raise UsageError(f"{target}: a file for {to} ends in {suffix}", str(target.with_suffix(suffix)))
    if not target.parent.is_dir():
        raise UsageError(f"there is no folder {target.parent}")
    held_back = "test" if run.splits["test"]["ids"] else "val"
    model, tests = run.model(), samples(run, held_back).some(images)

    def make() -> onnx.ModelProto:
        proto = converted(model, run.folder / "model.safetensors")
        if not int8:
            return proto
        from striate.ship.quantise import quantise

        return quantise(proto, samples(run, "train").some(calibration))

    with tempfile.TemporaryDirectory(dir=target.parent, prefix=".export-") as folder:
        draft = Path(folder) / target.name
        kind.write(model, make, draft)
        certificate = compare(model, kind.open(draft), tests)
        insist(certificate, max_drop)
        certificate = replace(certificate, path=str(target))
        _publish(draft, target, certificate)
    return certificate


def _publish(draft: Path, target: Path, certificate: Certificate) -> None:
    """Move the files into place, what others refer to first, the certificate before all: a server that watches the
    model finds it complete. A link at the target is replaced, not followed."""
    write_text(certificate_path(target), json.dumps(certificate.to_json(), indent=2))
    for part in reversed(files(draft)):
        with part.open("rb+") as f:
            os.fsync(f.fileno())
        os.replace(part, target.parent / part.name)


def beside(path: Path) -> list[Path]:
    """Every exported file in the folder of `path`, by name."""
    kinds = [kind.suffixes[0] for kind in formats.FORMATS.values()]
    return sorted(p for p in path.parent.iterdir() if p.suffix in kinds and certificate_path(p).is_file())
