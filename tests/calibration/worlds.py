"""Small twins: the procedures are the same, the pictures are quick."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from calibration.artifact import Artifact, CalibrationStore
from calibration.operator import SceneRequest, TwinOperator
from calibration.procedure import Context, present
from camera_rig.clock import ManualClock
from camera_rig.config import RigConfig, StorageConfig, load_config
from camera_rig.rig import Rig


def small(size: tuple[int, int] = (192, 128), **more: Any) -> RigConfig:
    config = load_config("simulated")
    twin = config.twin.model_dump()
    for role in ("privacy", "side"):
        twin[role]["sensor"]["size"] = size
    twin |= {"scene": {"kind": "flat"}, **more}
    return config.model_copy(update={"twin": type(config.twin).model_validate(twin)})


@contextmanager
def opened(config: RigConfig, root: Path, only: set[str] | None = None) -> Iterator[Context]:
    storage = StorageConfig(root=root / "rig-data", keys=root / "keys")
    config = config.model_copy(update={"storage": storage})
    with Rig.open(config, clock=ManualClock(), only=only) as rig:
        yield Context(rig, CalibrationStore(root), TwinOperator(rig.twin))


def keep(
    context: Context,
    procedure: str,
    texts: dict[str, str] | None = None,
    payload: dict[str, Any] | None = None,
    **figures: float,
) -> None:
    """Put a calibration into use that nobody measured."""
    now = present(context.rig)
    known = Artifact(
        id=f"known-{procedure}",
        procedure=procedure,
        status="accepted",
        made_at=now.now,
        config_hash=now.config_hash,
        payload=payload or {},
        figures=figures,
    )
    context.store.save(known, {}, texts or {})
    context.store.use(known)


class Stubborn(TwinOperator):
    """Somebody who puts the same thing before the rig whatever is asked for.

    Args:
        world: ``rig.twin``.
        name: The one scene he knows.
        settings: Its settings.
    """

    def __init__(self, world: Any, name: str, **settings: Any) -> None:
        super().__init__(world)
        self._only = SceneRequest(name, "", tuple(settings.items()))

    def provide(self, request: SceneRequest) -> None:
        super().provide(self._only)
