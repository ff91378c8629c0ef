"""Every failure that a user can cause or mend: one line of cause, one line of hint, one exit code."""

from collections.abc import Iterable
from difflib import get_close_matches


class StriateError(Exception):
    """The run failed (exit code 1)."""

    exit_code = 1

    def __init__(self, message: str, hint: str = "") -> None:
        super().__init__(message)
        self.hint = hint


class UsageError(StriateError, ValueError):
    """Bad usage or configuration (exit code 2)."""

    exit_code = 2


class DataError(StriateError, ValueError):
    """Bad data (exit code 3)."""

    exit_code = 3


class Note(UserWarning):
    """What a user should know of a result that stands."""


# what people call it elsewhere -> what it is called here; of brackets only what stands before them must be known
ELSEWHERE = {
    "learning_rate": "lr", "optimizer": "opt", "optimiser": "opt", "scheduler": "sched", "lr_scheduler": "sched",
    "num_epochs": "epochs", "bs": "batch_size", "wd": "weight_decay", "num_workers": "workers", "network": "model",
    "arch": "model", "dataset": "data", "label_smoothing": "smoothing", "early_stopping": "patience",
    "image_size": "img_size", "input_size": "img_size", "resume_from": "resume", "gpu": "device", "amp": "precision",
    "dropout": "do", "dense": "fc", "linear": "fc", "maxpool": "pool", "batchnorm": "bn",
    "flip": "horizontal_flip", "hflip": "horizontal_flip", "vflip": "vertical_flip", "rotate": "affine(rotation=10)",
    "rotation": "affine(rotation=10)", "random_rotation": "affine(rotation=10)", "zoom": "affine(zoom=(0.9, 1.1))",
    "shear": "affine(shear=5)", "translate": "affine(width_shift=0.1, height_shift=0.1)", "crop": "random_crop",
}  # fmt: skip


def nearest(name: str, known: Iterable[str], n: int = 3) -> str:
    """`did you mean a, b or c?`, the n known names closest to `name`; empty when nothing is close."""
    folded = {k.lower(): k for k in known}
    word, bracket, rest = ELSEWHERE.get(_bare(name), "").partition("(")
    if here := next((k for k in folded if word and _bare(k) == word), None):
        return f"did you mean {folded[here]}{bracket}{rest}?"
    close = [folded[m] for m in get_close_matches(name.lower(), folded, n=n, cutoff=0.4)]
    if not close:
        return ""
    return f"did you mean {' or '.join([', '.join(close[:-1])] * (len(close) > 1) + close[-1:])}?"


def _bare(name: str) -> str:
    """`--Learning-Rate` -> `learning_rate`"""
    return name.lower().lstrip("-").replace("-", "_")


def shown(value: object, most: int = 80) -> str:
    """How Python writes a value, in so many characters."""
    try:
        text = repr(value)
    except (ValueError, RecursionError):  # thousands of digits, or of brackets
        text = f"<{type(value).__name__}>"
    return text if len(text) <= most else f"{text[: most - 3]}..."


def one_line(error: Exception) -> str:
    """The beginning of what a library says on many lines."""
    return " ".join(str(error).split())[:160] or type(error).__name__
