import pytest

from striate.diagram.parser import parse
from striate.diagram.place import DiagramError
from striate.diagram.plan import plan


def filters(value: str) -> int:
    """What `value` comes to as the argument of a block called with c = 7."""
    planned = plan(parse(f"b(c) = CONV({value})\nINPUT(8,8,1) => b(7)"))
    return int(planned.flow[0].body[0].args["filters"])  # type: ignore[union-attr]


@pytest.mark.parametrize(
    "value", ["c", "c+1", "c*c", "4*c", "c//2", "(c+1)//2*3", "c-2-3", "2*(c-(3-1))", "-(-c)", "64//c//2"]
)
def test_arithmetic_is_that_of_whole_numbers(value: str) -> None:
    assert filters(value) == eval(value, {"c": 7})


@pytest.mark.parametrize(
    ("value", "words"),
    [
        ("c//0", "7 // 0: division by zero"),
        ("c//(c-7)", "7 // 0: division by zero"),
        ("c*0.5", "arithmetic is on whole numbers, this is 0.5"),
        ("same", "filters is same, expected a whole number"),
        ("999999999999*999999999999", "is beyond 1,000,000,000,000,000,000"),
        ("c-8", "filters is -1, expected a whole number from 1"),
    ],
)
def test_what_is_no_whole_number_is_refused(value: str, words: str) -> None:
    with pytest.raises(DiagramError) as caught:
        filters(value)
    assert words in str(caught.value)
    assert caught.value.line == 1
