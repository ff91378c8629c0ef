import typer
from striate.cli.common import Verbs

data = typer.Typer(cls=Verbs)


@data.command()
def check():
    "x"


@data.command()
def preview():
    "x"
