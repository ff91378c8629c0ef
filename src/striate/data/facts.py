"""What a file says of the network in it, checked before anything is made of it."""

from typing import Annotated, Any, Self

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    InstanceOf,
    model_validator,
)
from typing_extensions import TypedDict

from striate.data.preprocess import Preprocess

Count = Annotated[int, Field(ge=1, lt=1 << 31)]
LISTED = Field(strict=False)  # JSON has no tuples


def _distinct(names: tuple[str, ...]) -> tuple[str, ...]:
    if doubled := next((name for i, name in enumerate(names) if name in names[:i]), None):
        raise ValueError(f"{doubled!r} is named twice")
    return names


class Labelling(BaseModel):
    """How a picture enters a network, and what its answers are called."""

    model_config = ConfigDict(strict=True)

    classes: Annotated[tuple[str, ...], LISTED, AfterValidator(_distinct)]
    preprocess: Annotated[InstanceOf[Preprocess], BeforeValidator(Preprocess.from_dict)]
    several: bool = False


class Origin(TypedDict, total=False):
    """How to build a network: by its name in the zoo, from a diagram's text, or by the user's own code."""

    __pydantic_config__ = ConfigDict(strict=True, extra="allow")  # type: ignore[misc]

    kind: str
    name: str
    text: str
    arguments: dict[str, Any]
    head: dict[str, Any]


class Facts(Labelling):
    """All that a model file says; `input_shape` is (c, h, w)."""

    origin: Origin
    input_shape: Annotated[tuple[Count, Count, Count], LISTED]
    outputs: Count
    metrics: dict[str, float] = {}

    @model_validator(mode="after")
    def _agree(self) -> Self:
        wanted = 2 if self.outputs == 1 and not self.several else self.outputs
        if len(self.classes) != wanted:
            raise ValueError(f"classes: {len(self.classes)} names for {self.outputs} outputs")
        if self.preprocess.shape != self.input_shape:
            given, taken = ("x".join(map(str, shape)) for shape in (self.preprocess.shape, self.input_shape))
            raise ValueError(f"preprocess: gives images of {given}, and the network takes {taken}")
        return self
