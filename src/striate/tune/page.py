"""`report.html` of a study: how the best value rose, which settings mattered, every trial."""

import warnings
from itertools import accumulate
from pathlib import Path
from typing import TYPE_CHECKING

from striate.files import write_text
from striate.train.charts import Line, line_chart
from striate.tune.trial import settled
from striate.tune.words import LOSS, figure, measure

if TYPE_CHECKING:
    import optuna

ENOUGH = 4  # complete trials, before anything is said of what mattered


def write_page(study: "optuna.Study", output: Path) -> Path:
    """Write the study's page into `output`."""
    from jinja2 import ChoiceLoader, Environment, PackageLoader
    from markupsafe import Markup

    pages = [PackageLoader(package, ".") for package in ("striate.tune", "striate.train")]  # here; the style
    templates = Environment(loader=ChoiceLoader(pages), autoescape=True, trim_blocks=True)
    sign = 1 if measure(study) == LOSS else -1
    trials = sorted(
        filter(settled, study.trials), key=lambda t: (t.value is None, sign * (t.value or 0), t.number)
    )
    names = sorted({name for trial in trials for name in trial.params})
    page = templates.get_template("page.html").render(
        study=study,
        measure=measure(study),
        figure=figure,
        best=study.best_trial,
        trials=trials,
        names=names,
        charts=[(caption, Markup(svg)) for caption, svg in _charts(study)],
        importance=_importance(study),
        run=study.best_trial.user_attrs["run"],
    )
    return write_text(output / "report.html", page)


def _charts(study: "optuna.Study") -> list[tuple[str, str]]:
    """Captions with SVG: the value of each trial and the best so far; each trial epoch by epoch."""
    name = measure(study)
    better = min if name == LOSS else max
    found = [(trial.number, trial.value or 0.0) for trial in _complete(study)]
    so_far = list(accumulate(found, lambda best, trial: (trial[0], better(best[1], trial[1]))))
    best = study.best_trial.number
    curves = [
        Line(
            f"trial {t.number}",
            sorted(t.intermediate_values.items()),
            "best" if t.number == best else "trial",
        )
        for t in sorted(filter(settled, study.trials), key=lambda t: t.number == best)  # the best on top
    ]
    drawn = {
        f"The best {name} so far": (
            [Line("best so far", so_far, "best"), Line("trial", found, "trial dots")],
            "trial",
        ),
        f"The {name} of every trial": (curves, "epoch"),
    }
    form = "{:.4g}".format if name == LOSS else lambda v: f"{100 * v:.4g} %"
    return [(caption, line_chart(caption, lines, x, name, form)) for caption, (lines, x) in drawn.items()]


def _importance(study: "optuna.Study") -> dict[str, float]:
    """The share of each setting in the variance of the value, the largest first; empty while too little is known."""
    from optuna.importance import get_param_importances

    complete = _complete(study)
    if len(complete) < ENOUGH or len({trial.value for trial in complete}) == 1:
        return {}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Optuna calls it experimental
        return get_param_importances(study)


def _complete(study: "optuna.Study") -> "list[optuna.trial.FrozenTrial]":
    return [trial for trial in study.trials if trial.state.name == "COMPLETE"]
