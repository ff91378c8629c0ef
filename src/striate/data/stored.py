"""What a run wrote down of its splits, checked before it is believed."""

from typing import Annotated, Literal, NotRequired

from pydantic import AfterValidator, ConfigDict, Field
from typing_extensions import TypedDict


class Listed(TypedDict):
    """Which images are in a split, in order, each with a digest of its content, and one hash over them all."""

    __pydantic_config__ = ConfigDict(strict=True)  # type: ignore[misc]

    fingerprint: str
    ids: list[str]
    digests: list[Annotated[str, Field(pattern="^[0-9a-f]{16}$")]]


def _as_many(split: Listed) -> Listed:
    if len(split["ids"]) != len(split["digests"]):
        raise ValueError(f"{len(split['digests'])} digests for {len(split['ids'])} images")
    return split


Split = Annotated[Listed, AfterValidator(_as_many)]


class Splits(TypedDict):
    """What `DataSet.splits` gives and `load(splits=)` takes back."""

    __pydantic_config__ = ConfigDict(strict=True, extra="allow")  # type: ignore[misc]

    format: NotRequired[Literal[1]]
    classes: list[str]
    train: Split
    val: Split
    test: Split
