"""Train a network on a data set and leave a run folder."""

from striate.train.checkpoint import Model, load
from striate.train.metrics import Evaluation
from striate.train.phases import pretrained
from striate.train.recipe import Recipe
from striate.train.run import Run
from striate.train.session import resume, train
from striate.train.written import recipe

__all__ = ["Evaluation", "Model", "Recipe", "Run", "load", "pretrained", "recipe", "resume", "train"]
