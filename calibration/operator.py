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
        name: Short name: ``point``, ``flat``, ``dark``, ``charuco``, ``blink``.
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


class PersonOperator:
    """Asks a person.

    Args:
        ask: Shows a sentence and returns when the person says that it is done; raises
            KeyboardInterrupt when he gives up.
    """

    def __init__(self, ask: Callable[[str], None]) -> None:
        self._ask = ask
        self._standing = ""

    def provide(self, request: SceneRequest) -> None:
        """Ask for the scene unless it was the last one asked for."""
        if request.name != self._standing:
            self._ask(request.instruction)
            self._standing = request.name


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


_TWIN_KINDS: dict[str, tuple[str, dict[str, Any]]] = {
    "point": ("point", {}),
    "flat": ("flat", {"level": 0.8, "ambient": 1.0, "lamp": 0.0}),
    "dark": ("flat", {"level": 0.0, "ambient": 0.0, "lamp": 0.0}),
    "lamp": ("flat", {"level": 0.8, "ambient": 0.02, "lamp": 0.7}),
    "charuco": ("charuco", {}),
    "blink": ("blink", {}),
}
