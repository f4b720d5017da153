"""An attack run: every attack on every camera, kept cell by cell so that it can go on.

A run folder holds ``run.json`` (what it stands on), ``attackers/`` (what was trained),
``cells/`` (figures) and ``pictures/`` (examples, of synthetic heads or with consent only).
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from camera_rig.errors import ConfigError, StorageError
from models.evaluation.attacks.cameras import CONTROL, OWN, Victim
from models.evaluation.attacks.catalogue import AttackInfo
from models.evaluation.attacks.figures import CellResult
from models.evaluation.attacks.ground import Ground
from models.evaluation.attacks.on_pictures import PICTURE_ATTACKS, judged
from models.evaluation.attacks.on_vectors import VECTOR_ATTACKS
from models.evaluation.embedders import Picture

__all__ = ["COST", "Cell", "cells_of", "picture_file", "planned", "run"]

RUN = "run.json"
EXAMPLES = 5

COST = {
    "frame": 1,
    "head": 3,
    "tuned": 12,
    "wiener": 2,
    "richardson-lucy": 3,
    "restore": 12,
    "prior": 6,
    "theft": 14,
    "invert": 8,
    "link": 4,
}
"""About how long each attack takes, relative to the shortest: for the time left."""

Progress = Callable[[int, int, str], None]


@dataclass(frozen=True)
class Cell:
    """One attack on one camera."""

    attack: AttackInfo
    victim: Victim

    @property
    def slug(self) -> str:
        """Name of its files."""
        return _slug(self.attack.name, self.victim.name)


def planned(ground: Ground, attacks: Sequence[AttackInfo]) -> list[Cell]:
    """Return what is to be done: the bundle's own camera first, all attacks on it.

    Attacks that the bundle gives no ground for (no painter, no coefficients) are
    left out; the report names them.
    """
    cells = []
    for victim in ground.victims:
        own = victim.name == OWN
        for attack in attacks:
            if not own and not attack.every_camera:
                continue
            if victim.name == CONTROL and attack.name != "frame":
                continue  # the control shows what recognisers do without any optics
            if why_not(ground, attack):
                continue
            cells.append(Cell(attack, victim))
    return cells


def why_not(ground: Ground, attack: AttackInfo) -> str:
    """Return why an attack cannot be carried out here; empty when it can."""
    if attack.name == "theft" and ground.stolen is None:
        return "the bundle's camera has no coefficients to steal"
    if attack.name in ("invert", "link") and ground.painter is None:
        return "the bundle has no painter, so there are no outputs"
    if attack.name not in ("tuned",) and not ground.recognisers:
        return "no face recogniser is at hand"
    return ""


def run(
    ground: Ground,
    attacks: Sequence[AttackInfo],
    folder: Path,
    *,
    cameras: Sequence[str] = (),
    progress: Progress | None = None,
) -> list[CellResult]:
    """Carry out attacks; what is in the folder already is not done again.

    Args:
        ground: What is attacked, with what.
        attacks: Which attacks.
        folder: Run folder.
        cameras: Names of the cameras; empty for all.
        progress: Called with work done, work in all (relative units), and what is next.

    Raises:
        ConfigError: The folder holds a run on something else.
    """
    _claim(folder, ground)
    cells = [
        cell for cell in planned(ground, attacks) if not cameras or cell.victim.name in cameras
    ]
    total = sum(COST[cell.attack.name] for cell in cells)
    done, results = 0, []
    for cell in cells:
        if progress is not None:
            progress(done, total, f"{cell.attack.name} on {cell.victim.name}")
        results.append(_cell(ground, cell, folder))
        done += COST[cell.attack.name]
    if progress is not None:
        progress(total, total, "done")
    return results


def cells_of(folder: Path) -> list[CellResult]:
    """Return all results in a run folder, in the order of the catalogue, own camera first.

    Raises:
        StorageError: One cannot be read.
    """
    from pydantic import ValidationError

    from models.evaluation.attacks.catalogue import ATTACKS

    found = []
    for file in sorted((folder / "cells").glob("*.json")):
        try:
            found.append(CellResult.model_validate_json(file.read_text(encoding="utf-8")))
        except ValidationError as error:
            raise StorageError(
                f"{file} cannot be read: {error.errors()[0]['msg']}",
                hint="remove it and run the attack again",
            ) from error
    attacks = list(ATTACKS)
    cameras = [OWN, *sorted({cell.camera for cell in found} - {OWN, CONTROL}), CONTROL]
    return sorted(found, key=lambda c: (attacks.index(c.attack), cameras.index(c.camera)))


def picture_file(folder: Path, cell: CellResult) -> Path:
    """Return where the examples of a cell lie, if there are any."""
    return folder / "pictures" / f"{_slug(cell.attack, cell.camera)}.png"


def _slug(attack: str, camera: str) -> str:
    return f"{attack}--" + "".join(c if c.isalnum() else "-" for c in camera.lower())


def _cell(ground: Ground, cell: Cell, folder: Path) -> CellResult:
    file = folder / "cells" / f"{cell.slug}.json"
    if file.exists():
        return CellResult.model_validate_json(file.read_text(encoding="utf-8"))
    began = time.perf_counter()
    kept = folder / "attackers" / cell.slug
    blank = CellResult(
        attack=cell.attack.name,
        camera=cell.victim.name,
        detail=cell.victim.detail,
        knows=tuple(str(what) for what in cell.attack.knows),
    )
    if cell.attack.name in VECTOR_ATTACKS:
        result = VECTOR_ATTACKS[cell.attack.name](ground, cell.victim, blank, kept)
    else:
        found = PICTURE_ATTACKS[cell.attack.name](ground, cell.victim, kept)
        result = judged(ground, blank, found)
        _show(ground, found.pictures, picture_file(folder, blank))
    result = result.model_copy(update={"seconds": time.perf_counter() - began})
    _write(file, result.model_dump_json(indent=1))
    return result


def _show(ground: Ground, pictures: Picture, file: Path) -> None:
    """Keep a few examples, each of another person; none of people who did not allow it."""
    if ground.sensitive:
        return
    import cv2

    rows = ground.split.probes
    _, first = np.unique(ground.sought.labels[rows], return_index=True)
    chosen = rows[first[:EXAMPLES]]
    for name, table in ((file, pictures), (file.parent / "truth.png", ground.sought.sharp)):
        name.parent.mkdir(parents=True, exist_ok=True)
        if not cv2.imwrite(str(name), np.hstack(list(table[chosen]))[..., ::-1]):
            raise StorageError(f"cannot write {name}", hint="check the disk")


def _claim(folder: Path, ground: Ground) -> None:
    """Mark the folder as that of this run, or refuse one of another."""
    file = folder / RUN
    print_ = ground.fingerprint()
    if file.exists():
        known = json.loads(file.read_text(encoding="utf-8"))
        if known["fingerprint"] != print_:
            raise ConfigError(
                f"{folder} holds attacks on something else, or with other settings",
                hint="give another folder with --out",
            )
        return
    told = {
        "fingerprint": print_,
        "optics_id": ground.optics_id,
        "people_sought": ground.sought.people,
        "probes": len(ground.split.probes),
        "people_learned": ground.lessons.people,
        "pictures_learned": len(ground.lessons),
        "sensitive": ground.sensitive,
        "settings": ground.settings.model_dump(mode="json"),
        "recognisers": {name: each.trained_on for name, each in ground.recognisers.items()},
    }
    _write(file, json.dumps(told, indent=1))


def _write(file: Path, text: str) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    aside = file.with_suffix(".part")
    aside.write_text(text, encoding="utf-8")
    aside.replace(file)
