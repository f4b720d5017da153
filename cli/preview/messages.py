"""What pages may send: small, bounded, unknown keys refused."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, FiniteFloat, TypeAdapter

from cli.preview.hub import View

__all__ = ["Ack", "PageMessage", "ReferenceChoice", "ShapeRequest", "TakeRequest", "Watch"]


class _Strict(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Watch(_Strict):
    """What the page shows now; nothing while it is hidden."""

    type: Literal["watch"]
    views: Annotated[list[View], Field(max_length=len(View))]


class Ack(_Strict):
    """The picture of this number has been painted."""

    type: Literal["ack"]
    number: Annotated[int, Field(ge=0, lt=2**32)]


PageMessage: TypeAdapter[Watch | Ack] = TypeAdapter(
    Annotated[Watch | Ack, Field(discriminator="type")]
)


class ReferenceChoice(_Strict):
    """The public face whose style is painted."""

    name: Annotated[str, Field(min_length=1, max_length=200)]


class ShapeRequest(_Strict):
    """A shape of the mirror: Noll number to µm RMS."""

    values_um: Annotated[
        dict[Annotated[int, Field(ge=4, le=15)], FiniteFloat], Field(min_length=1, max_length=12)
    ]


class TakeRequest(_Strict):
    """Begin a take; ``agreed`` is the id of the consent that the operator was shown."""

    agreed: Annotated[str, Field(min_length=1, max_length=100)]
    prompt: Annotated[str, Field(max_length=300)] = ""
