import pytest
from torch import nn

from striate.errors import UsageError
from striate.layers.chain import chain
from striate.transfer.names import apply, check, choose, layers, peer_names

RULES = (
    (r"stem\.(conv|bn)", r"first.\1"),
    (r"stages\.(\w+)\.\d\.conv", lambda m, block: f"{m[1]}{block}"),
    (r"head\.(?:fc|bn)", "unnamed_#"),
)


def net() -> nn.Sequential:
    def stage(n: int) -> nn.Sequential:
        return nn.Sequential(*(chain(conv=nn.Conv2d(1, 1, 1), relu=nn.ReLU()) for _ in range(n)))

    return chain(
        stem=chain(conv=nn.Conv2d(1, 1, 1), bn=nn.BatchNorm2d(1)),
        stages=chain(low=stage(2), high=stage(1)),
        head=chain(bn=nn.BatchNorm2d(1), fc=nn.Linear(1, 1)),
    )


def test_layers_are_those_that_hold_something():
    assert list(layers(net())) == [
        "stem.conv",
        "stem.bn",
        "stages.low.0.conv",
        "stages.low.1.conv",
        "stages.high.0.conv",
        "head.bn",
        "head.fc",
    ]


def test_names_by_template_by_function_of_the_block_and_by_count():
    _, names = choose(net(), {"family": RULES}, "peer")
    assert list(names.values()) == [
        "first.conv",
        "first.bn",
        "low0",
        "low1",
        "high2",
        "unnamed_0",
        "unnamed_1",
    ]


def test_the_first_rule_that_matches_the_whole_name_counts():
    rules = ((r"a", "one"), (r"a|ab", "two"))
    assert [apply(rules, name) for name in ("a", "ab", "abc")] == ["one", "two", None]


def test_a_family_that_leaves_a_layer_out_is_not_chosen():
    assert peer_names(layers(net()), {}, RULES[:2]) is None
    with pytest.raises(UsageError, match="Caffe's names for this network are not known") as caught:
        choose(net(), {"small": RULES[:2]}, "Caffe")
    assert caught.value.hint == "known are those of small"


def test_of_two_families_the_one_that_speaks_of_the_given_layers():
    families = {"one": ((r".*", "a#"),), "other": ((r".*", "b#"),)}
    assert choose(net(), families, "peer", given=["b0", "b1"])[0] == "other"


def test_what_does_not_fit_is_counted_and_its_first_names_said():
    check("peer", [], [], [])
    with pytest.raises(UsageError) as caught:
        check("peer", list("abcdef"), ["x"], [])
    assert str(caught.value) == "these peer weights do not fit: 6 missing (a, b, c, d, ...); 1 unexpected (x)"


def test_names_that_a_file_chose_stay_on_the_line():
    with pytest.raises(UsageError) as caught:
        check("peer", [], ["a\nb\x1b[2J", "c" * 1000], [])
    said = str(caught.value)
    assert said.isprintable()
    assert r"2 unexpected (a\nb\x1b[2J, ccc" in said
    assert len(said) < 300
