"""`report.html` of a study: how the best value rose, which settings mattered, every trial."""

import base64
import io
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any

from striate.files import write_text

if TYPE_CHECKING:
    import optuna

DPI = 110


def write_page(study: "optuna.Study", output: Path) -> Path:
    """Write the study's page into `output`."""
    from jinja2 import Environment, PackageLoader

    templates = Environment(loader=PackageLoader("striate.tune", "."), autoescape=True, trim_blocks=True)
    trials = sorted(study.trials, key=lambda t: (t.value is None, -(t.value or 0), t.number))
    names = sorted({name for trial in trials for name in trial.params})
    page = templates.get_template("page.html").render(
        study=study,
        best=study.best_trial,
        trials=trials,
        names=names,
        pictures=_pictures(study),
        run=study.best_trial.user_attrs["run"],
    )
    return write_text(output / "report.html", page)


def _pictures(study: "optuna.Study") -> dict[str, str]:
    """PNG data URIs by caption; the importance of settings takes two complete trials that differ."""
    import matplotlib

    matplotlib.use("Agg")
    from optuna.visualization import matplotlib as plots

    found = {}
    wanted: dict[str, Any] = {
        "How the best validation accuracy rose": plots.plot_optimization_history,
        "Trials epoch by epoch": plots.plot_intermediate_values,
    }
    complete = [trial for trial in study.trials if trial.state.name == "COMPLETE"]
    if len(complete) > 3 and len({trial.value for trial in complete}) > 1:
        wanted["What mattered"] = plots.plot_param_importances
    for caption, plot in wanted.items():
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # Optuna calls its plots experimental
            axes = plot(study)
        axes.set_title("")
        found[caption] = _png(axes.figure)
    return found


def _png(figure: Any) -> str:
    from matplotlib import pyplot

    data = io.BytesIO()
    figure.savefig(data, format="png", dpi=DPI, bbox_inches="tight")
    pyplot.close(figure)
    return "data:image/png;base64," + base64.b64encode(data.getvalue()).decode()
