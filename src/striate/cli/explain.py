"""`striate explain RUN FILE... --method M`."""

from pathlib import Path
from typing import Annotated

import typer

from striate.cli.common import Debug, Json, emit, one_of
from striate.errors import UsageError


def explain(
    run: Annotated[Path, typer.Argument(metavar="RUN", help="run folder or model file", show_default=False)],
    files: Annotated[
        list[Path] | None, typer.Argument(metavar="FILE", help="images", show_default=False)
    ] = None,
    method: Annotated[
        list[str] | None,
        typer.Option(
            "-m", "--method", metavar="M", help="what to show; may be repeated; `all`: every heat map"
        ),
    ] = None,
    target: Annotated[
        str | None,
        typer.Option("--target", metavar="CLASS", help="class to explain; default: the predicted one"),
    ] = None,
    layer: Annotated[
        str | None, typer.Option("--layer", metavar="NAME", help="layer to look at; default: chosen well")
    ] = None,
    opacity: Annotated[float, typer.Option("--opacity", min=0, max=1, help="of heat over the image")] = 0.5,
    output: Annotated[
        Path | None,
        typer.Option("-o", "--output", metavar="DIR", help="default: `explain` beside the model file"),
    ] = None,
    split: Annotated[
        str,
        typer.Option("--split", metavar="train|val|test", help="which images, where a method looks at many"),
    ] = "test",
    save_npz: Annotated[bool, typer.Option("--save-npz", help="write the arrays too")] = False,
    as_json: Json = False,
    debug: Debug = False,
) -> None:
    """See what a network looks at, and what it has learnt to see."""
    from striate.explain.attribution import METHODS
    from striate.explain.subject import Subject
    from striate.explain.view import look, save
    from striate.train import Run, checkpoint
    from striate.train.engine import keep_memory

    for folder in (file for file in files or [] if file.is_dir()):
        raise UsageError(f"{folder} is a folder", f"name files: {folder}/*")
    keep_memory()
    if run.is_file():
        model, data = checkpoint.load(run), None
    else:
        opened = Run.open(run)
        model, data = opened.model(), lambda: getattr(opened.dataset(), split)
    one_of(split, ("train", "val", "test"), "--split")
    subject = Subject(
        model.module, model.classes, model.preprocess.normalise, model.input_shape, model.several
    )
    asked = method or ["grad-cam"]
    methods = list(dict.fromkeys(m for word in asked for m in (METHODS if word == "all" else [word])))
    images = [(file, model.preprocess.read(file)) for file in files or []]
    views = look(subject, methods, images, data, target, layer, opacity)
    where = output or (run if run.is_dir() else run.parent) / "explain"
    made = [save(view, where, name, save_npz) for name, view in views]
    emit(made, as_json, *(facts["picture"] for facts in made))
