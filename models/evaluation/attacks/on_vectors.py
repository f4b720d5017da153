"""The attacks that end with identity vectors, carried out and judged."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np

from camera_rig.errors import UnsupportedError
from models.evaluation.attacks.cameras import Victim
from models.evaluation.attacks.figures import CellResult, Range, Ranks, ranks
from models.evaluation.attacks.frames import FaceTable, Split
from models.evaluation.attacks.ground import Ground, Painter
from models.evaluation.attacks.on_pictures import curve_record
from models.evaluation.attacks.outputs import VectorInverter, linking_eer
from models.evaluation.attacks.tuned import TunedRecogniser
from models.evaluation.embedders import Picture
from models.evaluation.identity import Floats

__all__ = ["VECTOR_ATTACKS"]

_ROWS_EACH = 3  # of each person to learn from: vectors are dear to make
ONE_FOR_ALL = -1
"""Asks a painter for one reference for every output."""


def head(ground: Ground, victim: Victim, cell: CellResult, kept: Path) -> CellResult:
    """Train a network from vectors of frames to vectors of sharp photographs."""
    lessons, rows = _thinned(ground.lessons)
    frames = ground.lesson_frames(victim)[rows]
    return _inverted(ground, (frames, lessons), ground.sought_frames(victim), (cell, kept))


def tuned(ground: Ground, victim: Victim, cell: CellResult, kept: Path) -> CellResult:
    """Train the recogniser itself on frames with names."""
    attacker = TunedRecogniser(ground.trunk(), ground.settings.tuned)
    curve = attacker.train(ground.lessons, ground.lesson_frames(victim), kept)
    table, split = ground.sought, ground.split
    found = attacker.embed(ground.sought_frames(victim), table.landmarks_px)
    gallery = table.rows(split.gallery)
    sharp = attacker.embed(gallery.sharp, gallery.landmarks_px)
    notes = () if ground.trunk_file else ("trained from nothing: a weak attacker",)
    name = "its own" if ground.trunk_file is None else "faceplugin, trained further"
    return cell.model_copy(
        update={
            "ranks": {name: _ranks(sharp, found, table, split)},
            "curve": curve_record(curve),
            "notes": notes,
        }
    )


def invert(ground: Ground, victim: Victim, cell: CellResult, kept: Path) -> CellResult:
    """Train a network from vectors of outputs to vectors of the people."""
    painter = _painter(ground, victim)
    lessons, rows = _thinned(ground.lessons)
    return _inverted(ground, (painter.lessons(rows), lessons), painter.sought(0), (cell, kept))


def link(ground: Ground, victim: Victim, cell: CellResult, kept: Path) -> CellResult:
    """Compare outputs of one person with outputs of others."""
    painter, table, split = _painter(ground, victim), ground.sought, ground.split
    outcome: dict[str, Ranks] = {}
    extra: dict[str, float] = {}
    alike = painter.sought(ONE_FOR_ALL)
    pairs = {
        "other reference": (painter.sought(0), painter.sought(1)),
        "one reference for all": (alike, alike),
    }
    for words, (gallery, probes) in pairs.items():
        for name in ground.recognisers:
            known = ground.vectors(name, gallery, table)[split.gallery]
            found = ground.vectors(name, probes, table)[split.probes]
            first, fifth = ranks(known, found, table.labels, split)
            chance = 1.0 / len(split.gallery)
            outcome[f"{name}, {words}"] = Ranks(
                rank1=first, rank5=fifth, own_gallery=None, chance=chance
            )
            people = (table.labels[split.gallery], table.labels[split.probes])
            extra[f"{name}, {words}: EER of same person"] = linking_eer(known, found, people)
    note = "gallery of outputs, not of photographs: rank-1 is how often two outputs are linked"
    return cell.model_copy(update={"ranks": outcome, "extra": extra, "notes": (note,)})


VECTOR_ATTACKS: dict[str, Callable[[Ground, Victim, CellResult, Path], CellResult]] = {
    "head": head,
    "tuned": tuned,
    "invert": invert,
    "link": link,
}
"""Carries out an attack by name; the path (without suffix) is where an attacker is kept."""


def _inverted(
    ground: Ground,
    lessons: tuple[Picture, FaceTable],
    shown: Picture,
    where: tuple[CellResult, Path],
) -> CellResult:
    """Learn from changed pictures to sharp ones, and apply it to the people sought."""
    (changed, faces), (cell, kept) = lessons, where
    name, table, split = ground.quick, ground.sought, ground.split
    given = ground.vectors(name, changed, faces)
    wanted = ground.vectors(name, faces.sharp, faces)
    attacker = VectorInverter(given.shape[1], ground.settings.vectors)
    curve = attacker.train(given, wanted, faces.labels, kept)
    found = attacker.inverted(ground.vectors(name, shown, table))
    sharp = ground.gallery_vectors[name]
    return cell.model_copy(
        update={
            "ranks": {name: _ranks(sharp, found, table, split)},
            "curve": curve_record(curve),
        }
    )


def _ranks(sharp: Floats, found: Floats, table: FaceTable, split: Split) -> Ranks:
    probes = found[split.probes]
    first, fifth = ranks(sharp, probes, table.labels, split)
    own: Range
    own, _ = ranks(found[split.gallery], probes, table.labels, split)
    return Ranks(rank1=first, rank5=fifth, own_gallery=own, chance=1.0 / len(split.gallery))


def _thinned(table: FaceTable) -> tuple[FaceTable, np.ndarray]:
    rows = [np.flatnonzero(table.labels == who)[:_ROWS_EACH] for who in np.unique(table.labels)]
    index = np.concatenate(rows)
    return table.rows(index), index


def _painter(ground: Ground, victim: Victim) -> Painter:
    if ground.painter is None:
        raise UnsupportedError(
            f"{victim.name} has no painter, so there are no outputs",
            hint="give a bundle with a generator, or leave out `invert` and `link`",
        )
    return ground.painter
