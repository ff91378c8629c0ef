"""`striate report RUN`."""

from striate.cli.common import Debug, Json, RunPath, emit


def report(run: RunPath, as_json: Json = False, debug: Debug = False) -> None:
    """Tell the story of a run on one HTML page."""
    from striate.train import Run
    from striate.train.report import write_report

    page = write_report(Run.open(run))
    emit({"report": str(page), "bytes": page.stat().st_size}, as_json, str(page))
