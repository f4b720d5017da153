"""Who puts a scene before the rig: a person at the bench, or the twin by itself."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

__all__ = ["Operator", "PersonOperator", "SceneRequest", "TwinOperator"]


@dataclass(frozen=True)
class SceneRequest:
    """What a procedure wants to see.

    Args:
        name: Short name, a key of the twin's table below.
        instruction: What a person has to do, as one sentence.
        settings: What the twin's scene of that kind needs (its configuration keys).
    """

    name: str
    instruction: str
    settings: tuple[tuple[str, Any], ...] = ()


class Operator(Protocol):
    """Brings about a scene, or raises when it cannot."""

    def provide(self, request: SceneRequest) -> None:
        """Return when the scene stands before the rig."""
        ...

    def mend(self, request: SceneRequest, why: str) -> bool:
        """Try again after ``why`` went wrong; return False if there is nothing more to try."""
        ...


class PersonOperator:
    """Asks a person.

    Args:
        ask: Shows a sentence and returns when the person says that it is done; raises
            KeyboardInterrupt when he gives up.
    """

    def __init__(self, ask: Callable[[str], None]) -> None:
        self._ask = ask
        self._standing: SceneRequest | None = None

    def provide(self, request: SceneRequest) -> None:
        """Ask for the scene unless it was the last one asked for."""
        if request != self._standing:
            self._ask(request.instruction)
            self._standing = request

    def mend(self, request: SceneRequest, why: str) -> bool:
        """Say what went wrong and ask once more."""
        self._ask(f"{why}. {request.instruction}")
        return True


class TwinOperator:
    """Changes the scene of a simulated world.

    Args:
        world: ``rig.twin``.
    """

    def __init__(self, world: Any) -> None:
        self._world = world

    def provide(self, request: SceneRequest) -> None:
        """Put the twin's scene of that name before the rig."""
        kind, more = _TWIN_KINDS[request.name]
        section = {"kind": kind, **more, **dict(request.settings)}
        options = type(self._world).Options.model_validate({"scene": section})
        self._world.stage_scene(options.scene)

    def mend(self, request: SceneRequest, why: str) -> bool:
        """Return False: a simulated scene stands exactly as asked."""
        return False


_TWIN_KINDS: dict[str, tuple[str, dict[str, Any]]] = {
    "point": ("point", {}),
    "flat": ("flat", {"level": 0.8, "ambient": 1.0, "lamp": 0.0}),
    "dark": ("flat", {"level": 0.0, "ambient": 0.0, "lamp": 0.0}),
    "lamp": ("flat", {"level": 0.8, "ambient": 0.02, "lamp": 0.7}),
    "charuco": ("charuco", {}),
    "still": ("poster", {}),
    "moving": ("poster", {"sway_mm": 12.0}),
    "poster": ("poster", {"sway_mm": 0.0}),
}
