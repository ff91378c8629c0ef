"""Hyper-parameter search: which recipe trains the best network on the validation split."""

from striate.tune.space import Choice, Range, axes
from striate.tune.study import tune

__all__ = ["Choice", "Range", "axes", "tune"]
