"""One file that takes raw pixels and gives probabilities, proven on the run's own pictures before it is there."""

import json
import os
import tempfile
from dataclasses import replace
from pathlib import Path

from striate.errors import UsageError
from striate.files import write_text
from striate.ship import formats
from striate.ship.convert import converted
from striate.ship.parity import MAX_DROP, Certificate, compare, insist
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
    """Write the run's network as `to`, load it again, compare it on up to `images` pictures of the test split.

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
    model, tests = run.model(), samples(run, "test").some(images)
    proto = converted(model, run.folder / "model.safetensors")
    if int8:
        from striate.ship.quantise import quantise

        proto = quantise(proto, samples(run, "train").some(calibration))
    with tempfile.TemporaryDirectory(dir=target.parent, prefix=".export-") as folder:
        draft = Path(folder) / target.name
        kind.write(model, proto, draft)
        certificate = compare(model, kind.open(draft), tests)
        insist(certificate, max_drop)
        _publish(draft, target)
    certificate = replace(certificate, path=str(target))
    write_text(certificate_path(target), json.dumps(certificate.to_json(), indent=2))
    return certificate


def certificate_path(path: Path) -> Path:
    """Where the certificate of an exported file lies."""
    return path.with_name(f"{path.name}.certificate.json")


def _publish(draft: Path, target: Path) -> None:
    """Move the files into place, what others refer to first; a link at the target is replaced, not followed."""
    for part in reversed(formats.files(draft)):
        with part.open("rb+") as f:
            os.fsync(f.fileno())
        os.replace(part, target.parent / part.name)


def beside(path: Path) -> list[Path]:
    """Every exported file in the folder of `path`, by name."""
    kinds = [kind.suffixes[0] for kind in formats.FORMATS.values()]
    return sorted(p for p in path.parent.iterdir() if p.suffix in kinds and certificate_path(p).is_file())
