"""Faces for ``rig attack``: prepared sets, image folders and rendered heads by one name."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cli._data_common import open_store, unlock
from cli._heads import heads_named

if TYPE_CHECKING:
    from camera_rig.recording.prepared import PreparedSet
    from models.evaluation.attacks.from_bundle import Faces

__all__ = ["FaceOpener"]

_FRAMES_SOUGHT = 8


@dataclass
class FaceOpener:
    """Opens what a user named.

    Args:
        stack: Keeps prepared sets open as long as the command runs.
        config: Configuration with the data store.
        lab_key: The lab's private key, if it is not in the key folder.
        size_px: Size at which heads are rendered.
        progress: Called with step, done and in all.
    """

    stack: ExitStack
    config: str
    lab_key: Path | None
    size_px: int
    progress: Callable[[str, int, int], None]
    _sets: dict[str, PreparedSet] = field(default_factory=dict)

    def check(self, named: str) -> None:
        """Refuse what names no faces, before anything that takes long.

        Raises:
            ConfigError: No number of heads, no folder, or no pictures in it.
        """
        from models.data import open_folder

        if heads_named(named) is None and not self._is_set(named):
            open_folder(named, self.size_px)

    def sought(self, named: str) -> Faces:
        """Return the people sought: the test part of a set, a folder, or heads."""
        from models.evaluation.material import held_out_heads, open_pictures

        if self._is_set(named):
            return self._part(named, "test")
        if (count := heads_named(named)) is not None:
            folder = held_out_heads(count, _FRAMES_SOUGHT, self.size_px, progress=self.progress)
            return lambda size_px: open_pictures(folder, size_px)
        return lambda size_px: open_pictures(named, size_px, self._landmarks())

    def learned(self, named: str, per_person: int) -> Faces:
        """Return the faces that attackers learn from: a folder, or heads."""
        from camera_rig.twin.head.cache import user_cache_dir
        from models.evaluation.material import open_pictures
        from models.heads import TRAINING_SEEDS, HeadSetSettings, render_heads

        count = heads_named(named)
        if count is None:
            return lambda size_px: open_pictures(named, size_px, self._landmarks())
        # Another light and wall in every picture, as for the people sought.
        settings = HeadSetSettings(
            tuple(TRAINING_SEEDS[:count]), per_person, self.size_px, studios=per_person
        )
        name = f"learn-{count}x{per_person}-lights-{self.size_px}px"
        place = user_cache_dir() / "evaluation" / name
        folder = render_heads(
            place, settings, lambda done, total: self.progress("rendering heads", done, total)
        )
        return lambda size_px: open_pictures(folder, size_px)

    def recorded(self, named: str) -> Faces | None:
        """Return the training part of a prepared set: an attacker may have such pairs."""
        return self._part(named, "train") if self._is_set(named) else None

    def _part(self, named: str, part: str) -> Faces:
        from models.evaluation.material import open_recordings

        source = self._opened(named)
        return lambda size_px: open_recordings(source, size_px, self._landmarks(), part)

    def _opened(self, named: str) -> PreparedSet:
        from camera_rig.recording.consent import Scope
        from camera_rig.recording.prepared import PreparedSet

        if named not in self._sets:
            store = open_store(self.config)
            access = store.access("attack", unlock(store, self.lab_key))
            source = PreparedSet(named, access, Scope.EVALUATE)
            self._sets[named] = self.stack.enter_context(source)
        return self._sets[named]

    def _landmarks(self) -> Any:
        from models.evaluation.material import found_landmarks

        return found_landmarks()

    def _is_set(self, named: str) -> bool:
        return (Path(named) / "set.json").exists() or "://" in named
