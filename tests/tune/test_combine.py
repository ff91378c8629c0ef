"""Axes count only in combinations where their field has a say."""

import pytest

from striate.errors import UsageError
from striate.train.nature import no_say
from striate.train.recipe import Recipe
from striate.train.written import recipe
from striate.tune.combine import NATURES, checked, choose, combinations
from striate.tune.space import axes

DIGITS = {"data": "digits", "model": "lenet5"}


def test_a_grid_has_an_axis_only_where_it_has_a_say():
    found = combinations(
        DIGITS, axes(["momentum=0.5,0.9", "opt=adamw,sgd"]), lambda name, axis: axis.grid(name)
    )
    assert found == [{"opt": "adamw"}, {"opt": "sgd", "momentum": 0.5}, {"opt": "sgd", "momentum": 0.9}]


def test_a_trial_draws_only_what_has_a_say():
    space = axes(["ema_decay=0.9,0.99", "average=none,ema", "lr=1e-3..1e-2"])
    last = choose(DIGITS, space, lambda name, axis: axis.ends[-1])
    assert last == {"lr": 1e-2, "average": "ema", "ema_decay": 0.99}
    assert choose(DIGITS, space, lambda name, axis: axis.ends[0]) == {"lr": 1e-3, "average": "none"}


@pytest.mark.parametrize(
    ("settings", "space", "name"),
    [
        ({}, ["momentum=0.5,0.9"], "--momentum"),
        ({"opt": "adam"}, ["lr=1e-3,1e-2", "momentum=0.5..0.9"], "--momentum"),
        ({}, ["momentum=0.5,0.9", "opt=adam,adamw"], "--momentum"),
        ({"ema_decay": 0.9}, ["lr=1e-3,1e-2"], "--ema-decay"),
        ({"ema_decay": 0.9}, ["average=none,swa"], "--ema-decay"),
    ],
)
def test_what_has_a_say_in_no_trial_is_refused(settings, space, name):
    with pytest.raises(UsageError, match=f"{name} has no say"):
        checked({**DIGITS, **settings}, axes(space))


def test_what_has_a_say_in_one_trial_is_taken():
    assert checked({**DIGITS, "ema_decay": 0.9}, axes(["average=none,ema"])).ema_decay == 0.9
    checked(DIGITS, axes(["momentum=0.5,0.9", "opt=adam,muon"]))


def test_a_field_s_say_is_decided_by_fields_before_it(monkeypatch):
    known, looked_at = recipe(DIGITS), []
    plain = Recipe.__getattribute__

    def watched(self, name):
        if name in Recipe.model_fields:
            looked_at.append(name)
        return plain(self, name)

    monkeypatch.setattr(Recipe, "__getattribute__", watched)
    order = list(NATURES)
    for name, nature in NATURES.items():
        for other in nature.needs:  # each, for the first that fails ends the search
            getattr(known, other)
        no_say(known, nature)
        assert all(order.index(other) < order.index(name) for other in looked_at), (name, looked_at)
        looked_at.clear()
