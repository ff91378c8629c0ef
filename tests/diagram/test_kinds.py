from typing import Any

import pytest

from striate.diagram.kinds import FLAG, FRACTION, PADDING, PAIR, POOL_PADDING, REAL, SIDES, WHOLE, Kind, show

NUMBERS: list[Any] = [0, -1, 2**31, 2**63, 10**400, float("inf"), float("nan"), "3", None]


@pytest.mark.parametrize("kind", [WHOLE, PAIR, PADDING, FLAG, FRACTION, SIDES], ids=lambda kind: kind.expects)
def test_what_is_out_of_range_is_nothing(kind: Kind) -> None:
    allowed = {id(PADDING): [0], id(FLAG): [0], id(FRACTION): [0]}.get(id(kind), [])
    for value in NUMBERS:
        if value not in allowed:
            assert kind.read(value) is None, value


def test_the_normal_forms() -> None:
    assert [PAIR.read(v) for v in (3, (3, 3), (1, 7))] == [3, 3, (1, 7)]
    paddings = ["same", "valid", 0, (0, 0), 2, (2, 2), (1, 3), (1, 1, 3, 3), (0, 1, 0, 1), (2, 2, 2, 2)]
    normal = ["same", "valid", "valid", "valid", 2, 2, (1, 3), (1, 3), (0, 1, 0, 1), 2]
    assert [PADDING.read(v) for v in paddings] == normal
    assert [POOL_PADDING.read(v) for v in ((1, 1, 3, 3), (0, 1, 0, 1))] == [(1, 3), None]
    assert [FLAG.read(v) for v in (0, 1, True, False, 2)] == [False, True, True, False, None]
    assert [FRACTION.read(v) for v in (0, 1, 0.25, 1.5)] == [0.0, 1.0, 0.25, None]
    assert [REAL.read(v) for v in (2, 1e-5, True)] == [2.0, 1e-5, None]


@pytest.mark.parametrize(
    ("value", "text"),
    [
        *((3, "3"), (0.5, "0.5"), (1.0, "1"), (1e-5, "1e-05"), (0.1 + 0.2, "0.30000000000000004")),
        *(((1, 7), "1x7"), ((0, 1, 0, 1), "(0, 1, 0, 1)"), (True, "true"), ("same", "same")),
    ],
)
def test_values_are_written_as_they_are_read(value: Any, text: str) -> None:
    assert show(value) == text
