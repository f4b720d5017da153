"""From a bundle and faces to the ground that attacks stand on."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from camera_rig.errors import ConfigError, RigError
from models.evaluation.attacks.cameras import (
    OWN,
    Victim,
    at_size,
    camera_of,
    line_up,
    with_error,
)
from models.evaluation.attacks.frames import (
    Labels,
    gallery_split,
    table_of,
    thinned,
    to_planes,
)
from models.evaluation.attacks.ground import AttackSettings, Ground
from models.evaluation.embedders import (
    EMBEDDERS,
    FACEPLUGIN_FILE,
    FETCHABLE,
    Embedder,
    Picture,
)
from models.evaluation.material import Material, Sample
from models.evaluation.systems import Painted, Styles, camera_of_bundle, systems_for
from models.evaluation.weights import weights_file
from models.runtime.bundle import Bundle, optics_id
from models.training.sources import Trained

__all__ = ["Faces", "at_hand", "ground_for"]

Faces = Callable[[int], Material]
"""Opens faces at a size in pixels."""

_STRENGTH_FACES = 16
_REFERENCES = 2


@dataclass(frozen=True, eq=False)
class BundlePainter:
    """Outputs of a bundle for the rows of a ground.

    Args:
        painted: The bundle with its references.
        taught: Faces to learn from, at the size of the bundle.
        wanted: Faces sought, at the size of the bundle.
    """

    painted: Painted
    taught: tuple[Sample, ...]
    wanted: tuple[Sample, ...]

    @property
    def key(self) -> str:
        """Hash of weights, optic and references."""
        return self.painted.key

    def lessons(self, rows: Labels) -> Picture:
        """Return outputs of some faces to learn from, each person in a style of their own."""
        return np.stack(self.painted.show([self.taught[row] for row in rows], 0))

    def sought(self, reference: int) -> Picture:
        """Return outputs of all faces sought; negative: one reference for everybody."""
        if reference >= 0:
            return np.stack(self.painted.show(self.wanted, reference))
        one = replace(
            self.painted,
            styles=self.painted.styles[:1],
            domains=self.painted.domains[:1],
            references=1,
        )
        return np.stack(one.show(self.wanted, 0))


def ground_for(
    what: Bundle | Trained,
    sought: Faces,
    learned: tuple[Faces, ...],
    settings: AttackSettings,
    recognisers: Mapping[str, Embedder],
    *,
    styles: Styles | None = None,
) -> Ground:
    """Return what attacks on a bundle stand on.

    Args:
        what: The bundle; or weights alone, when there is nothing to paint with.
        sought: The people sought.
        learned: Faces that attackers learn from: of nobody sought.
        settings: How hard the attackers try.
        recognisers: Face recognisers by name.
        styles: Public references; None leaves the outputs alone.

    Raises:
        ConfigError: The bundle has no optic, or somebody is both learned and sought.
    """
    trained = what.trained if isinstance(what, Bundle) else what
    small = _resized(trained, settings.size_px)
    material = sought(settings.size_px)
    wanted = _kept(material, settings.probes + 1)
    taught = [_kept(open_(settings.size_px), settings.per_person) for open_ in learned]
    for part in taught:
        _refuse_shared(wanted, part)
    table = table_of(wanted, sensitive=not material.may_show)
    lessons = tuple(table_of(part, sensitive=True) for part in taught)
    step = max(1, len(lessons[0]) // _STRENGTH_FACES)
    some = to_planes(lessons[0].sharp[::step][:_STRENGTH_FACES])
    ground = Ground(
        settings=settings,
        optics_id=optics_id(trained.coefficients, trained.optics),
        victims=line_up(camera_of_bundle(small), some),
        learned=lessons,
        sought=table,
        split=gallery_split(table.labels, settings.probes),
        recognisers=recognisers,
        trunk_file=_trunk_file(recognisers),
        stolen=_thieves(small) if small.coefficients else None,
    )
    if styles is None or not isinstance(what, Bundle):
        return ground
    return replace(ground, painter=_painter(what, (sought, learned), settings, styles))


def _painter(
    bundle: Bundle,
    faces: tuple[Faces, tuple[Faces, ...]],
    settings: AttackSettings,
    styles: Styles,
) -> BundlePainter:
    sought, learned = faces
    native_px = bundle.trained.sizes.size_px
    wanted = _kept(sought(native_px), settings.probes + 1)
    taught = [_kept(open_(native_px), settings.per_person) for open_ in learned]
    (painted,) = systems_for(bundle, wanted, styles, baselines=(), references=_REFERENCES)
    if not isinstance(painted, Painted):
        raise ConfigError("the bundle paints nothing", hint="give a bundle of `rig train`")
    return BundlePainter(painted, tuple(face for part in taught for face in part), wanted)


def at_hand(folder: Path | None = None) -> tuple[dict[str, Embedder], dict[str, str]]:
    """Return the recognisers that can be used here, and why others cannot.

    Nothing is said of networks that nobody ships: they join where a user has put them.

    Args:
        folder: Where their weights lie; None is the user's cache.
    """
    found, absent = {}, {}
    for name, make in EMBEDDERS.items():
        try:
            found[name] = make(folder)
        except RigError as error:
            if name in FETCHABLE:
                absent[name] = f"{error.message} ({error.hint})"
    return found, absent


def _thieves(trained: Trained) -> Callable[[float], Victim]:
    def stolen(error: float) -> Victim:
        shapes = tuple(
            with_error(shape, error, trained.optics, seed=number)
            for number, shape in enumerate(trained.coefficients)
        )
        camera = camera_of(shapes, trained.optics)
        psf = camera.whole_psf()
        return Victim(OWN, f"coefficients wrong by {error:.0%}", camera, psf)

    return stolen


def _resized(trained: Trained, size_px: int) -> Trained:
    """Return the same optics for faces shown at another size."""
    native_px = trained.sizes.size_px
    if size_px != native_px and not trained.coefficients:
        raise ConfigError(
            f"measured PSFs for faces of {native_px} px cannot be used at {size_px} px",
            hint=f"attack at --size {native_px}",
        )
    return replace(trained, optics=at_size(trained.optics, native_px, size_px))


def _kept(material: Material, per_person: int) -> tuple[Sample, ...]:
    rows = thinned(material.people.astype(np.int64), per_person)
    return tuple(material.samples[row] for row in rows)


def _refuse_shared(sought: tuple[Sample, ...], learned: tuple[Sample, ...]) -> None:
    shared = {sample.key for sample in sought} & {sample.key for sample in learned}
    if shared:
        raise ConfigError(
            f"{len(shared)} pictures are both learned from and sought",
            hint="let attackers learn from other faces: --learn",
        )


def _trunk_file(recognisers: Mapping[str, Embedder]) -> Path | None:
    if "faceplugin" not in recognisers:
        return None
    return weights_file("faceplugin", FACEPLUGIN_FILE)
