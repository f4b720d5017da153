"""The shape that hides faces: put on the mirror, and watched while it must stand.

Whoever records or shows a person does it inside::

    with private_shape(rig) as shape:
        ...
        if reasons := shape.why_not(rig.mirror):
            ...  # the mirror no longer hides faces: stop, blank

The shape is named in the configuration (``devices.mirror.shape``), so that there is
one answer to "which coefficients belong to this rig".
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from camera_rig.config import MirrorConfig, RigConfig, coefficient_file
from camera_rig.contracts import Mirror, Volts
from camera_rig.errors import PrivacyError, RigError
from camera_rig.rig import Rig

if TYPE_CHECKING:
    from camera_rig.optics import Coefficients

__all__ = ["PrivateShape", "private_shape", "wanted_shape"]

TOLERANCE_V = 1.0
"""How far an electrode may read back from the shape and still count as standing, V."""


@dataclass(frozen=True, eq=False)
class PrivateShape:
    """A shape that stood on the mirror when it was loaded.

    Args:
        source: The coefficient file.
        coefficients: What was wanted.
        command_v: What was sent, V.
        residual_um: Error of the planned wavefront over the wanted modes, µm RMS.
        origin: Whether the influence matrix was measured, modelled, or the maker's.
    """

    source: Path
    coefficients: Coefficients
    command_v: Volts
    residual_um: float
    origin: str

    def why_not(self, mirror: Mirror) -> list[str]:
        """Return why faces may not be hidden now; empty while the shape stands.

        Asks the mirror itself; a mirror that does not answer counts as not standing.
        """
        try:
            health, found_v = mirror.health(), mirror.read_back()
        except RigError as error:
            return [f"the mirror does not answer: {error.message}"]
        why = [] if health.ok else [*health.warnings] or ["the mirror is not well"]
        off_v = np.abs(found_v - self.command_v)
        worst = int(np.argmax(off_v))
        # Written so that a NaN counts as off.
        if not off_v[worst] <= TOLERANCE_V:
            why.append(
                f"the mirror is not in its private shape: actuator {worst} reads "
                f"{found_v[worst]:.1f} V instead of {self.command_v[worst]:.1f} V"
            )
        return why

    def to_dict(self) -> dict[str, Any]:
        """Return it as plain data for a manifest; voltages in V."""
        return {
            "source": self.source.name,
            "unit": self.coefficients.unit.value,
            "wavelength_nm": self.coefficients.wavelength_nm,
            "values": [[n, m, value] for (n, m), value in self.coefficients.values.items()],
            "command_v": [round(float(volt), 4) for volt in self.command_v],
            "residual_um": None if np.isnan(self.residual_um) else self.residual_um,
            "origin": self.origin,
        }


def wanted_shape(config: RigConfig) -> Path:
    """Return the coefficient file of the shape that hides faces on this rig.

    Raises:
        PrivacyError: The configuration names none.
        ConfigError: The file does not exist.
    """
    entry = config.devices.get("mirror")
    if not isinstance(entry, MirrorConfig) or entry.shape is None:
        raise PrivacyError(
            f"rig {config.name!r} names no shape that hides faces",
            hint="set devices.mirror.shape in the configuration, e.g. to lopez2024",
        )
    return coefficient_file(entry.shape)


@contextmanager
def private_shape(rig: Rig) -> Iterator[PrivateShape]:
    """Load the rig's shape that hides faces, verify it, and hand it out.

    The mirror is relaxed on the way, which sweeps its whole range for about a second:
    electrodes remember, and the same voltages after another past, such as a power cut, make
    a glass that has little to do with the shape, though every read-back agrees.

    While no influence matrix is calibrated, the plate model of the bench stands in:
    its axes may be turned, so the picture differs from the learned one, but it is
    distorted as strongly.

    Raises:
        PrivacyError: No shape is configured, or it does not stand after loading.
        SafetyError: The mirror cannot reach it; nothing was sent.
    """
    from camera_rig.mirror.influence import InfluenceModel
    from camera_rig.mirror.reference import MirrorFolder
    from camera_rig.mirror.session import modal_session
    from camera_rig.mirror.shape import Hysteresis
    from camera_rig.optics import Coefficients, Unit

    source = wanted_shape(rig.config)
    coefficients = Coefficients.load(source)
    bench = rig.config.bench
    folder = MirrorFolder(rig.config.storage.root, rig.mirror.info.serial)
    plate = None
    if coefficients.unit is not Unit.STROKE_FRACTION:
        plate = InfluenceModel(bench.mirror, bench.mirror_pupil_mm).matrix()
    with modal_session(rig.mirror, folder, plate) as modal:
        reason = f"private shape {source.name}"
        loaded = modal.load(coefficients, reason=reason)
        for _ in rig.mirror.relax():  # ends in what was loaded
            pass
        if modal.hysteresis is Hysteresis.MODEL:  # which now knows the past for certain
            loaded = modal.load(coefficients, reason=reason)
        origin = modal.influence.provenance.kind if modal.influence else "maker"
        shape = PrivateShape(
            source, coefficients, loaded.plan.command_v, loaded.plan.residual_um, origin
        )
        if why := shape.why_not(rig.mirror):
            raise PrivacyError(
                f"the private shape does not stand: {'; '.join(why)}",
                hint="check the mirror with `rig doctor`; nothing is recorded or shown",
            )
        yield shape
