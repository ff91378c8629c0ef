import re
import subprocess
import sys

import pytest
import torch
from torch import nn

from striate import zoo
from striate.errors import UsageError
from striate.zoo import registry
from striate.zoo.registry import Card, build, card, cards, golden, register


@pytest.fixture
def tiny(monkeypatch):
    """A network registered by somebody else, for the length of a test."""
    registry.registered()
    monkeypatch.setattr(registry, "_registered", dict(registry._registered))
    mine = Card("tiny", "mine", "none", 2024, input=(1, 4, 4), min_side=2, params=2)

    @register(mine)
    def build_tiny(
        num_classes: int = 1, in_chans: int = 1, img_size: int = 4, slope: float = 0.1
    ) -> nn.Module:
        return nn.Linear(in_chans, num_classes)

    return mine


def test_cards_are_read_without_torch():
    code = (
        "import sys, striate.zoo as z; assert z.card('resnet50') in z.cards(); print('torch' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"


def test_golden_json_has_the_card_of_every_registered_network():
    """Run scripts/zoo_table.py where this fails."""
    in_code = registry.registered()
    assert golden().keys() == in_code.keys()
    for name, mine in in_code.items():
        assert golden()[name].items() >= registry.card_fields(mine).items()
        assert card(name) == mine


def test_cards_by_pattern():
    assert [c.name for c in cards("resnet*v2")] == [f"resnet{d}v2" for d in (101, 152, 18, 34, 50)]
    assert {c.family for c in cards("mobilenet")} == {"mobilenet"}
    assert cards("no such") == ()


def test_what_others_register_counts_too(tiny):
    assert card("tiny") == tiny
    assert tiny in cards()
    assert build("tiny", num_classes=3, in_chans=2).weight.shape == (3, 2)


def test_a_name_can_be_taken_once(tiny):
    with pytest.raises(ValueError, match="two networks are called 'tiny'"):
        register(tiny)(nn.Identity)


@pytest.mark.parametrize("ask", [build, card])
def test_an_unknown_name_is_answered_with_the_three_nearest(ask):
    with pytest.raises(UsageError, match=re.escape("no network is called 'resnet51'")) as caught:
        ask("resnet51")
    names = (
        caught.value.hint.removeprefix("did you mean ").removesuffix("?").replace(" or ", ", ").split(", ")
    )
    assert len(names) == 3
    assert "resnet50" in names


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"num_classes": 0}, "tiny: num_classes must be at least 1, got 0"),
        ({"in_chans": -1}, "tiny: in_chans must be at least 1, got -1"),
        ({"img_size": 1}, "tiny needs images of at least 2x2, got 1x1"),
        ({"slop": 1.0}, "tiny takes no argument 'slop'"),
    ],
)
def test_bad_arguments_are_one_line(tiny, arguments, message):
    with pytest.raises(UsageError, match=re.escape(message)) as caught:
        build("tiny", **arguments)
    if "slop" in arguments:
        assert caught.value.hint == "did you mean slope?"


@pytest.mark.parametrize(
    ("name", "arguments", "message"),
    [
        ("resnet50", {"stride_on": "2x2"}, "resnet50: stride_on is one of 1x1, 3x3, got '2x2'"),
        ("alexnet", {"towers": 3}, "alexnet: towers is one of 1, 2, got 3"),
        ("alexnet", {"dropout": 2.0}, "alexnet: dropout probability has to be between 0 and 1, but got 2.0"),
    ],
)
def test_a_choice_names_its_alternatives(name, arguments, message):
    with torch.device("meta"), pytest.raises(UsageError, match=re.escape(message)):
        build(name, **arguments)


def test_img_size_builds_the_networks_that_a_flatten_fixes_and_is_checked_for_the_others():
    assert zoo.build("mlp", img_size=8).stages.hidden1.fc.in_features == 64
    assert zoo.build("resnet20_cifar", img_size=8).img_size is None
    with pytest.raises(UsageError, match="squeezenet1_1 needs images of at least 17x17, got 16x16"):
        zoo.build("squeezenet1_1", img_size=16)
