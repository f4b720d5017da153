"""What goes over the network between a device's host and the rig: models and errors.

Both ends import this page and nothing of each other. Every size is bounded and every
number finite, so a request that passes here can be handed to a device.
"""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, FiniteFloat

from camera_rig import errors
from camera_rig.errors import ConnectError, RigError

__all__ = [
    "PROTOCOL",
    "PROTOCOL_HEADER",
    "STATUS_OF_KIND",
    "ApplyRequest",
    "Beat",
    "Description",
    "ErrorReply",
    "LeaseReply",
    "LeaseRequest",
    "LevelRequest",
    "MirrorFacts",
    "MoveRequest",
    "PatternRequest",
    "PulseRequest",
    "Reply",
    "SafeRequest",
    "ShutterRequest",
    "StageFacts",
    "WriteRequest",
    "error_from_wire",
    "error_to_wire",
]

PROTOCOL = 1
"""Version of this page; both ends must have the same."""

PROTOCOL_HEADER = "X-Rig-Protocol"

MAX_ACTUATORS = 4096
MAX_BODY_BYTES = 128 * 1024

STATUS_OF_KIND = {
    "config": 422,
    "connect": 502,
    "state": 409,
    "unsupported": 501,
    "timeout": 504,
    "safety": 422,
    "storage": 507,
    "privacy": 403,
}
"""HTTP status of each kind of error; 500 for the rest (dimensionless)."""

Text = Annotated[str, Field(max_length=200)]
LeaseId = Annotated[str, Field(min_length=1, max_length=64)]
Commands = Annotated[list[FiniteFloat], Field(min_length=1, max_length=MAX_ACTUATORS)]


class _Wire(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class LeaseRequest(_Wire):
    """Ask to be the one writer.

    ``client`` is a name for the others to see; ``nonce`` is new for each opening, so
    that a repeat of a request whose answer was lost gets the same lease.
    """

    client: Annotated[str, Field(min_length=1, max_length=200)]
    nonce: Annotated[str, Field(min_length=16, max_length=64)]


class LeaseReply(_Wire):
    """A lease, and how long it lives without a sign of life, s."""

    lease: LeaseId
    timeout_s: FiniteFloat


class Beat(_Wire):
    """A sign of life, or the wish to give the lease back."""

    lease: LeaseId


class WriteRequest(_Wire):
    """A command: ``sequence`` grows by command, a repeat of it is answered, not redone."""

    lease: LeaseId
    sequence: Annotated[int, Field(ge=1, le=2**53)]


class ApplyRequest(WriteRequest):
    """Voltages (V) for a mirror, with the reason for its journal."""

    command_v: Commands
    reason: Text = "unspecified"


class SafeRequest(WriteRequest):
    """The shape (V) that the host walks to when the lease is lost."""

    command_v: Commands


class MoveRequest(WriteRequest):
    """A stage position, mm, and how long it may take, s."""

    position_mm: FiniteFloat
    timeout_s: Annotated[FiniteFloat, Field(gt=0, le=600)]


class HomeRequest(WriteRequest):
    """Home a stage within a time, s."""

    timeout_s: Annotated[FiniteFloat, Field(gt=0, le=600)]


class LevelRequest(WriteRequest):
    """Brightness of a light, 0 … 1."""

    level: FiniteFloat


class PulseRequest(WriteRequest):
    """Length of a flash, s."""

    seconds: FiniteFloat


class ShutterRequest(WriteRequest):
    """Open or shut."""

    open: bool


class PatternEntry(_Wire):
    """One Zernike mode and its share of the stroke, -1 … 1."""

    n: Annotated[int, Field(ge=0, le=60)]
    m: Annotated[int, Field(ge=-60, le=60)]
    fraction: FiniteFloat


class PatternRequest(_Wire):
    """Modes of a maker's pattern."""

    fractions: Annotated[list[PatternEntry], Field(max_length=64)]


class MirrorFacts(_Wire):
    """What is constant of a mirror: limits (V), slew (V/s, None for no limit), settling (s)."""

    limits_v: list[tuple[float, float]]
    slew_v_per_s: float | None
    settle_s: float
    compensates_hysteresis: bool
    safe_command_v: list[float]


class StageFacts(_Wire):
    """What is constant of a stage: limits, mm."""

    limits_mm: tuple[float, float]


class Description(_Wire):
    """Who is served: contract kind, identity, constants, and who holds the lease."""

    protocol: int
    version: str
    kind: str
    model: str
    serial: str
    driver: str
    firmware: str
    writer: str | None
    mirror: MirrorFacts | None = None
    stage: StageFacts | None = None


class Reply(_Wire):
    """An answer: result, and the host's clock when it was sent (ns)."""

    result: Any
    now_ns: int
    repeated: bool = False


class ErrorReply(_Wire):
    """An error as it goes over the network."""

    kind: str
    message: str
    hint: str


def error_to_wire(error: RigError) -> ErrorReply:
    """Return the error for the network; subclasses keep their kind."""
    return ErrorReply(kind=error.kind, message=error.message, hint=error.hint)


def error_from_wire(reply: ErrorReply, where: str) -> RigError:
    """Return the error again, of the same class, saying which host told it."""
    for cls in vars(errors).values():
        if isinstance(cls, type) and issubclass(cls, RigError) and cls.kind == reply.kind:
            if cls is errors.GatheredError:
                break
            return cls(f"{reply.message} (told by {where})", hint=reply.hint)
    return ConnectError(f"{reply.message} (told by {where})", hint=reply.hint)
