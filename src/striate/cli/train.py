"""`striate train DATA --model NET`: one flag for each field of the recipe."""

import inspect
from collections.abc import Callable, Iterator
from functools import wraps
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, get_args

import typer

from striate.cli.common import Debug, Json, emit, visible
from striate.cli.progress import is_first, progress
from striate.errors import UsageError

if TYPE_CHECKING:
    from striate.train import Run
    from striate.train.nature import Nature


def train(spelled_out: bool) -> Callable[..., None]:
    """The verb as typer reads it; `spelled_out` is with all its flags."""
    return with_recipe_flags(_train) if spelled_out else listed(_train)


def listed(verb: Callable[..., None]) -> Callable[..., None]:
    """What stands in for `verb` where only its name and first line are shown."""

    def stub() -> None: ...

    stub.__doc__ = verb.__doc__
    return stub


def _train(
    *,
    resume: Annotated[
        Path | None, typer.Option("--resume", metavar="RUN", help="go on with a run; --epochs extends it")
    ] = None,
    config: Annotated[
        Path | None, typer.Option("-c", "--config", help="YAML file with recipe fields; flags override it")
    ] = None,
    output: Annotated[
        Path | None, typer.Option("--output", help="the run folder itself; default: runs/NUMBER-NET-DATA")
    ] = None,
    allow_changes: Annotated[
        bool, typer.Option("--allow-changes", help="with --resume: go on with the settings typed now")
    ] = False,
    find_lr: Annotated[
        bool, typer.Option("--find-lr", help="train nothing: try rates from 1e-6 to 10 and suggest one")
    ] = False,
    find_batch_size: Annotated[
        bool, typer.Option("--find-batch-size", help="train nothing: tell the largest batch that fits")
    ] = False,
    show_loop: Annotated[
        bool, typer.Option("--show-loop", help="train nothing: print what the run would do, in order")
    ] = False,
    as_json: Json = False,
    debug: Debug = False,
    **fields: Any,
) -> None:
    """Train a network and write a run folder.

    The run keeps the weights that were best on the validation split and looks at the test split once.
    """
    from striate.train.nature import flag

    settings = {name: value for name, value in fields.items() if value is not None}
    if str(resume).startswith("-"):
        raise UsageError(f"--resume: expected a run folder, got {resume}", "--resume RUN")
    if sum((bool(resume), find_lr, find_batch_size, show_loop)) > 1:
        raise UsageError("--resume, --find-lr, --find-batch-size and --show-loop: one at a time")
    if allow_changes and not resume:
        raise UsageError("--allow-changes has no say: no run goes on", "--resume RUN")
    if find_lr or find_batch_size or show_loop:
        if output is not None:
            raise UsageError("--output has no say: nothing is trained", "leave it out")
        for found, name in ((find_lr, "lr"), (find_batch_size, "batch_size")):
            if found and name in settings:
                raise UsageError(f"{flag(name)} has no say: it is what is looked for", "leave it out")
        _rehearse(settings, config, find_lr, find_batch_size, as_json)
        return
    with progress(stderr=as_json) as listener:
        if resume:
            run = _resume(resume, settings, config, output, allow_changes, listener)
        else:
            run = _start(settings, config, output, listener)
    if is_first():
        emit(run.summary, as_json, *_outcome(run.summary))


def _outcome(summary: dict[str, Any]) -> tuple[str, ...]:
    splits = (("test", summary["test_accuracy"]), ("validation", summary["val_accuracy"]))
    accuracy = ", ".join(
        f"{split} accuracy {100 * share:.2f} %" for split, share in splits if share is not None
    )
    speed = f"{summary['train_seconds']:.1f} s, {summary['images_per_second']:,.0f} images/s"
    precision = f"test mAP {summary['test_map']:.4f}" if summary.get("test_map") is not None else ""
    others = [name for name in summary if name.startswith(("test_balanced", "test_macro", "test_top"))]
    watched = [
        f"{name.replace('_', ' ')} {100 * summary[name]:.2f} %"
        for name in others
        if summary[name] is not None
    ]
    accuracy = accuracy or "nothing was held back to measure on (--split 70/15/15 does)"
    facts = (accuracy, *watched, precision, f"{summary['params']:,} parameters", speed)
    bad = list(summary.get("skipped", {}).items())
    skipped = [f"left out: {visible(name)}: {visible(why)}" for name, why in bad[:10]]
    skipped += [f"left out: {len(bad) - 10} more that can't be read"] if len(bad) > 10 else []
    skipped += [visible(line) for key in ("passed_over", "notes") for line in summary.get(key, [])]
    return "; ".join(filter(None, facts)), *skipped, f"run folder: {summary['run']}"


def _start(settings: dict[str, Any], config: Path | None, output: Path | None, listener: Any) -> "Run":
    from striate import train

    return train.train(train.recipe(settings, config), output, [listener])


def _rehearse(
    settings: dict[str, Any], config: Path | None, find_lr: bool, find_batch_size: bool, as_json: bool
) -> None:
    from dataclasses import asdict

    from striate import train
    from striate.train import finders
    from striate.train.session import rehearse

    loop = rehearse(train.recipe(settings, config))
    if find_lr:
        rate = finders.find_lr(loop)
        emit(asdict(rate), as_json, f"--lr {rate.suggested:.2g}, a tenth of where the loss is lowest")
    elif find_batch_size:
        sizes = finders.find_batch_size(loop)
        lines = [
            f"{t['batch_size']:>7,} images: {t['bytes'] / 2**20:>8,.0f} MiB, {t['images_per_second']:>9,.0f} images/s"
            for t in sizes.tried
        ]
        emit(
            asdict(sizes),
            as_json,
            *lines,
            f"-b {sizes.largest} is the largest that fits, {sizes.fastest} the fastest",
        )
    else:
        emit({"loop": loop.programme().splitlines()}, as_json, loop.programme())


def _resume(
    folder: Path,
    settings: dict[str, Any],
    config: Path | None,
    output: Path | None,
    allow_changes: bool,
    listener: Any,
) -> "Run":
    from striate import train

    if config is not None:
        raise UsageError("--resume goes on with the recipe of the run: leave --config out")
    if output is not None:
        raise UsageError("--resume goes on in the folder of the run: leave --output out")
    return train.resume(folder, [listener], allow_changes=allow_changes, **settings)


def with_recipe_flags(verb: Callable[..., None]) -> Callable[..., None]:
    """`verb` with its `**fields` replaced by DATA and a flag for every field of the recipe."""
    from striate.train.nature import natures
    from striate.train.recipe import Recipe

    @wraps(verb)
    def spelled_out(**arguments: Any) -> None:
        verb(**arguments)

    own = [p for p in inspect.signature(verb).parameters.values() if p.kind is p.KEYWORD_ONLY]
    flags = [
        inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=None, annotation=annotation)
        for name, nature in natures(Recipe)
        for annotation in [_flag(name, Recipe.model_fields[name], nature)]
    ]
    spelled_out.__signature__ = inspect.Signature(flags + own)  # type: ignore[attr-defined]
    return spelled_out


def _flag(name: str, field: Any, nature: "Nature") -> Any:
    """One field of the recipe as typer wants it. Its value stays text: the recipe reads and validates it."""
    from striate.train.nature import flag

    default = "" if field.is_required() or field.default is None else f" (default: {_words(field.default)})"
    help_text, heading = f"{field.description}{default}", nature.group.capitalize()
    if name == "data":
        return Annotated[str | None, typer.Argument(metavar="DATA", help=help_text, show_default=False)]
    if bool in (field.annotation, *get_args(field.annotation)):
        switch = f"{flag(name)}/--no-{flag(name)[2:]}"
        shown = typer.Option(switch, help=help_text, show_default=False, rich_help_panel=heading)
        return Annotated[bool | None, shown]
    choices = list(_choices(field.annotation))
    kind = int if any(isinstance(c, int) for c in choices) else str
    metavar = "|".join(map(str, choices)) or name.upper()
    names = [nature.short] if nature.short else []
    option = typer.Option(*names, flag(name), metavar=metavar, help=help_text, rich_help_panel=heading)
    return Annotated[kind | None, option]


def _choices(annotation: Any) -> Iterator[str | int]:
    """The values that a field of fixed values can have."""
    for part in get_args(annotation):
        if isinstance(part, str | int):
            yield part
        elif not hasattr(part, "pattern"):
            yield from _choices(part)


def _words(value: Any) -> str:
    return ",".join(map(str, value)) if isinstance(value, tuple) else str(value)
