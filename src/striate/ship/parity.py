"""Whether a file does what the network does, on real pictures; what was found is its certificate."""

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from striate.errors import DataError
from striate.files import sha256
from striate.ship.engines import Probabilities
from striate.ship.formats import Opened, failure
from striate.ship.pixels import Answer
from striate.ship.places import certificate_path, files
from striate.ship.samples import Labels, Samples, batches
from striate.train.checkpoint import Model

TOLERANCE = 1e-4  # of a probability, in float32
CUBIC_TOLERANCE = (
    1e-3  # in OpenVINO, which takes the float64 of bicubic weights for float32: pixels off by one level
)
MAX_DROP = 0.02  # of accuracy, in int8
BATCH = 7  # a number that nothing else uses, so that a batch built into a graph shows


@dataclass(frozen=True)
class Certificate:
    """What was compared, with which runtime, and how far apart the two were.

    The reference is torch in float32 on pixels that `Preprocess.fit` cut from the same raw picture. `accuracy` and
    `reference_accuracy` are shares of the same n pictures; `top1_agreement_as_read` is with the network on pixels as
    the training reader decoded them, which for a large JPEG is at a half, a quarter or an eighth of its size. Where a
    picture has several labels, it counts as right, or as equal, when all of them are.
    """

    path: str
    runtime: str
    precision: str
    n: int
    max_abs_diff: float
    top1_agreement: float
    top1_agreement_as_read: float
    accuracy: float
    reference_accuracy: float
    tolerance: float | None
    sha256: dict[str, str]

    def to_json(self) -> dict[str, Any]:
        """For the file beside the model."""
        return asdict(self)


def compare(model: Model, opened: Opened, found: Samples) -> Certificate:
    """Run the file and the network on the same pictures."""
    answer = Answer(model).eval()
    got, fitted, as_read, labels = [], [], [], []
    for raw, trained, truth in batches(found, BATCH):
        got.append(opened.call(raw))
        fitted.append(model.preprocess.fit(raw))
        as_read.append(trained)
        labels.append(truth)
    pixels, other = np.concatenate(fitted), np.concatenate(as_read)
    p, q = np.concatenate(got), _answers(answer, pixels)
    differ = (pixels != other).reshape(len(pixels), -1).any(axis=1)
    r = q.copy()
    if differ.any():
        r[differ] = _answers(answer, other[differ])
    if p.shape != q.shape or not np.isfinite(p).all():
        raise failure(f"{opened.path.name} gives {p.shape} with {opened.runtime}, the network {q.shape}")
    fp32 = opened.facts["precision"] == "fp32"
    truth, ours, theirs, as_trained = np.concatenate(labels), *(_said(x, model.several) for x in (p, q, r))
    return Certificate(
        path=str(opened.path),
        runtime=opened.runtime,
        precision=opened.facts["precision"],
        n=len(p),
        max_abs_diff=float(np.abs(p - q).max()),
        top1_agreement=_alike(ours, theirs),
        top1_agreement_as_read=_alike(ours, as_trained),
        accuracy=_alike(ours, truth),
        reference_accuracy=_alike(theirs, truth),
        tolerance=_tolerance(opened) if fp32 else None,
        sha256={f.name: sha256(f) for f in files(opened.path)},
    )


def _tolerance(opened: Opened) -> float:
    cubic = opened.facts["preprocess"]["interpolation"] == "bicubic"
    return CUBIC_TOLERANCE if cubic and opened.path.suffix == ".xml" else TOLERANCE


def insist(certificate: Certificate, max_drop: float = MAX_DROP) -> None:
    """Raise StriateError where the file disagrees: float32 by its numbers, int8 by its accuracy."""
    c, name = certificate, Path(certificate.path).name
    if c.tolerance is not None and c.max_abs_diff > c.tolerance:
        raise failure(
            f"{name} disagrees with the network: probabilities differ by up to {c.max_abs_diff:.2g} "
            f"(allowed {c.tolerance:g}), top-1 equal for {c.top1_agreement:.1%} of {c.n} images"
        )
    drop = c.reference_accuracy - c.accuracy
    if c.tolerance is None and drop > max_drop:
        raise failure(
            f"{name}: accuracy falls from {c.reference_accuracy:.2%} to {c.accuracy:.2%} on {c.n} images, "
            f"more than {max_drop:.1%}"
        )


def verify(path: Path) -> None:
    """DataError where a file isn't the one that its certificate was written for.

    A file without one is taken as it is, but for a `.pt2`: that is like code.
    """
    certificate = certificate_path(path)
    if certificate.is_file():
        stated = _stated(certificate)
        for part in files(path):
            if not part.is_file() or sha256(part) not in stated:
                raise DataError(f"{part} is not the file that its certificate vouches for", "export it again")
    elif path.suffix == ".pt2":
        raise DataError(
            f"{path} has no certificate, and a .pt2 of somebody else is like code",
            f"export it yourself; {certificate.name} belongs beside it",
        )


def _stated(certificate: Path) -> set[str]:
    """SHA-256 of the files that a certificate is about."""
    try:
        return set(json.loads(certificate.read_text(encoding="utf-8"))["sha256"].values())
    except (OSError, ValueError, LookupError, AttributeError, TypeError):
        raise DataError(f"{certificate} is damaged", "export it again") from None


def _answers(answer: Answer, pixels: NDArray[np.uint8]) -> Probabilities:
    with torch.inference_mode():
        parts = torch.from_numpy(np.ascontiguousarray(pixels)).split(16)
        return torch.cat([answer(part) for part in parts]).numpy()


def _said(p: Probabilities, several: bool) -> Labels:
    """The labels that probabilities give: the most probable class, or all at least as likely as not.    (n, k)"""
    return p >= 0.5 if several else np.arange(p.shape[1]) == p.argmax(1)[:, None]


def _alike(a: Labels, b: Labels) -> float:
    """The share of pictures that have the same labels in both."""
    return float((a == b).all(1).mean())
