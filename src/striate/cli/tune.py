"""`striate tune DATA --model NET --search FIELD=VALUES...`: train's flags, and what to search."""

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import typer

from striate.cli.common import Debug, Json, emit, one_of
from striate.cli.progress import Bar, progress
from striate.cli.train import listed, with_recipe_flags
from striate.errors import UsageError


def tune(spelled_out: bool) -> Callable[..., None]:
    """The verb, `spelled_out` with its flags and those of the recipe."""
    return with_recipe_flags(_tune) if spelled_out else listed(_tune)


def _tune(
    *,
    output: Annotated[
        Path, typer.Option("--output", help="folder of the study; the same one again goes on with it")
    ] = Path("runs/tune"),
    search: Annotated[
        list[str] | None,
        typer.Option(
            "--search", metavar="FIELD=VALUES", help="lr=1e-4..1e-2:log, batch_size=32,64, opt=adamw,muon"
        ),
    ] = None,
    config: Annotated[
        Path | None, typer.Option("-c", "--config", help="YAML file with recipe fields and `search:`")
    ] = None,
    trials: Annotated[
        int | None, typer.Option("--trials", min=1, help="how many in all (default: 20, or the whole grid)")
    ] = None,
    sampler: Annotated[
        str, typer.Option("--sampler", metavar="tpe|random|grid", help="who chooses values")
    ] = "tpe",
    pruner: Annotated[
        str, typer.Option("--pruner", metavar="median|hyperband|none", help="who ends bad trials early")
    ] = "median",
    timeout: Annotated[
        float | None, typer.Option("--timeout", help="seconds after which no trial begins")
    ] = None,
    storage: Annotated[
        str | None, typer.Option("--storage", metavar="URL", help="database that several machines share")
    ] = None,
    as_json: Json = False,
    debug: Debug = False,
    **fields: Any,
) -> None:
    """Search the settings that train the best network."""
    from striate.train.nature import flag
    from striate.tune import axes, tune
    from striate.tune.study import PRUNERS, SAMPLERS
    from striate.tune.trial import settled
    from striate.tune.words import figure, line

    settings = {name: value for name, value in fields.items() if value is not None}
    written = _read(config)
    space = axes(search or (), written.pop("search", None))
    if twice := space.keys() & settings.keys():
        raise UsageError(f"{flag(min(twice))} is given and searched")
    settings = {**{k: v for k, v in written.items() if k not in space}, **settings}
    one_of(sampler, SAMPLERS, "--sampler")
    one_of(pruner, PRUNERS, "--pruner")
    with progress(as_json) as live:
        listeners = [live] if isinstance(live, Bar) else []
        out = sys.stderr if as_json else sys.stdout  # as the bar has put it: what is printed comes above

        def tell(study: Any, trial: Any) -> None:
            if settled(trial):
                print(line(study, trial), file=out, flush=True)

        found = tune(
            settings, space, output, trials, sampler, pruner, timeout, storage, listeners, told=[tell]
        )
    emit(
        found,
        as_json,
        f"best: trial {found['best_trial']}, {found['judged_by']} {figure(found['value'], found['judged_by'])}, "
        + ", ".join(f"{k} {v}" for k, v in found["params"].items()),
        f"run folder: {found['run']}; {found['complete']} complete, {found['pruned']} pruned, {found['failed']} failed",
        f"report: {found['report']}",
    )


def _read(config: Path | None) -> dict[str, Any]:
    if config is None:
        return {}
    from striate.train.written import read_yaml

    return read_yaml(config)
