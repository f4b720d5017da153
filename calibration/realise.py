"""Closed loop that makes the instrument show the wanted coefficients.

relax → apply → photograph with a little known defocus either side → retrieve → correct,
until what is left is below the target or no longer falls. The bench's static aberration is
in the picture, so it is corrected with the rest.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from functools import partial
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt

from calibration import stacks
from calibration.artifact import HeldOut
from calibration.closed_loop import ASKED, PAUSE_S, SETTLE_S, ClosedLoop
from calibration.operator import SceneRequest
from calibration.point_camera import POINT, pupil_of
from calibration.procedure import Context, Fitted, Plan, Procedure, Step
from calibration.psf import honest, inflation_note
from calibration.psf_figures import expected
from calibration.realise_figures import pictures
from calibration.retrieval import Retrieval
from camera_rig.config import RigConfig
from camera_rig.optics import Coefficients, Mode, Pupil, Unit

__all__ = ["RealiseProcedure"]

Vector = npt.NDArray[np.float64]

TARGET_WAVES = 0.02


class RealiseProcedure(Procedure):
    """Make the instrument show wanted coefficients, static aberrations included.

    Args:
        wanted: Coefficients in the pupil as the upright picture shows it, y up.
        iterations: Most corrections.
        pinhole_mm: Diameter of the pinhole.
        frames: Pictures averaged.
        target_waves: Residual at which to stop, waves RMS at 550 nm.
    """

    name: ClassVar[str] = "realise"
    title: ClassVar[str] = "Show the wanted coefficients"
    devices: ClassVar[tuple[str, ...]] = ("privacy", "mirror")
    needs: ClassVar[tuple[str, ...]] = ("sensor", "influence")
    scene: ClassVar[SceneRequest | None] = POINT
    resumable: ClassVar[bool] = False
    advice: ClassVar[str] = (
        "look at the convergence in the report; if it does not fall, run `rig calibrate run "
        "influence` again"
    )

    def __init__(
        self,
        wanted: Coefficients,
        iterations: int = 6,
        pinhole_mm: float = 0.2,
        frames: int = 1,
        target_waves: float = TARGET_WAVES,
    ) -> None:
        self.wanted, self.iterations = wanted, iterations
        self.pinhole_mm, self.frames, self.target_waves = pinhole_mm, frames, target_waves

    def plan(self, config: RigConfig) -> Plan:
        """Return what a run would do."""
        planes = 3 * (self.iterations + 2)
        exposures = planes * (self.frames + 1)
        minutes = (SETTLE_S + planes * PAUSE_S + exposures * 3.0) / 60.0
        return Plan(40 + 2 * planes, exposures, minutes, POINT.instruction)

    def steps(self, context: Context) -> Iterator[Step]:
        """Yield the loop as one step: a mirror that waits is another mirror."""
        yield Step("loop", "apply, measure, correct", partial(self._loop, context))

    def fit(self, context: Context, data: Mapping[str, Mapping[str, Any]]) -> Fitted:
        """Judge the last iteration with a plane that was never used."""
        loop = data["loop"]
        residual = np.asarray(loop["residual_waves"])
        listed = ASKED
        values, covariance = np.asarray(loop["values"])[-1], np.asarray(loop["covariance"])[-1]
        sigma = np.sqrt(np.diag(covariance))
        wanted = self._wanted_waves(listed)
        shape = Coefficients(
            dict(zip(listed, values.tolist(), strict=True)),
            Unit.WAVES_RMS,
            550.0,
            source="calibration: what the instrument shows",
            notes="static aberration included; pupil as the upright picture shows it, y up",
        )
        figures = {
            "residual_waves_rms": float(residual[-1]),
            "first_residual_waves_rms": float(residual[0]),
            "iterations": float(len(residual) - 1),
            "stroke_used": float(np.abs(loop["commands"][-1]).max()),
            "chi2": float(loop["chi2"][-1]),
            "wanted_waves_rms": float(np.linalg.norm(wanted)),
        }
        uncertainty = {"residual_waves_rms": float(np.sqrt(np.trace(covariance)))}
        problems = []
        if residual[-1] > 5.0 * self.target_waves:
            problems.append(
                f"{1e3 * residual[-1]:.0f} mwaves are left, far above the target of "
                f"{1e3 * self.target_waves:.0f}"
            )
        return Fitted(
            figures=figures,
            uncertainty=uncertainty,
            held_out=HeldOut(
                metric="residual of a plane no fit had seen, relative RMS",
                before=float(loop["held_before"]),
                after=float(loop["held_after"]),
                limit=0.4,
            ),
            payload={
                "residual_waves": residual.tolist(),
                "measured_ns": int(loop["measured_ns"]),
                "shown_noll_waves": {str(k): v for k, v in shape.numbers.items()},
                "sigma_waves": sigma.tolist(),
                "command_v": stacks.to_volts(context.rig.mirror, loop["commands"][-1]).tolist(),
            },
            arrays={
                name: loop[name]
                for name in ("values", "commands", "light_wanted", "light_before", "light_after")
            },
            texts={"coefficients.yaml": _as_yaml(shape)},
            pictures=pictures(listed, wanted, loop, _pupil(context), self.target_waves),
            problems=tuple(problems),
            notes=inflation_note(float(loop["chi2"][-1])),
        )

    def _loop(self, context: Context) -> dict[str, Any]:
        run = ClosedLoop(context, self.wanted, self.pinhole_mm, self.frames)
        run.relax()
        command = run.first()
        found: list[Retrieval] = []
        responses, commands, residuals = [], [], []
        for iteration in range(self.iterations + 1):
            context.interrupt.check()
            result = run.measure(command)
            found.append(result)
            commands.append(command.copy())
            responses.append(run.response())
            residuals.append(run.residual(result))
            if iteration == 0:
                before = _light(run, result)
            stalled = iteration >= 2 and residuals[-1] > 0.8 * min(residuals[:-1])
            if residuals[-1] < self.target_waves / 2 or stalled or iteration == self.iterations:
                break
            command = run.corrected(result)
        best = int(np.argmin(residuals))
        if best != len(found) - 1:
            # Its voltages alone do not bring a shape back. What is stated is what stands.
            command = run.back_to(responses[best])
            found.append(run.measure(command))
            commands.append(command.copy())
            residuals.append(run.residual(found[-1]))
        after, wanted = _light(run, found[-1]), _light(run, found[-1], self.wanted)
        held_before, held_after = run.held_out(found[-1], commands[-1])
        asked = [found[0].modes.index(mode) for mode in ASKED]
        factor = pupil_of(context).wavelengths_nm[0] / 550.0
        return {
            "residual_waves": np.array(residuals),
            "values": np.array([r.values[asked] * factor for r in found]),
            "covariance": np.array([honest(r)[np.ix_(asked, asked)] * factor**2 for r in found]),
            "chi2": np.array([r.chi2 for r in found]),
            "commands": np.array(commands),
            "measured_ns": run.measured_ns,
            "light_before": before,
            "light_after": after,
            "light_wanted": wanted,
            "held_before": held_before,
            "held_after": held_after,
        }

    def _wanted_waves(self, listed: tuple[Mode, ...]) -> Vector:
        waves = self.wanted.to(unit=Unit.WAVES_RMS, wavelength_nm=550.0)
        return waves.array(((0, 0), (1, 1), (1, -1), *listed))[3:]


def _as_yaml(shape: Coefficients) -> str:
    import tempfile
    from pathlib import Path

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "coefficients.yaml"
        shape.save(path)
        return path.read_text(encoding="utf-8")


def _light(run: ClosedLoop, found: Retrieval, shape: Coefficients | None = None) -> Vector:
    """Return where the light of the plane without defocus went, or would go, as shares of it."""
    plane = run.taken.planes - 1
    if shape is None:
        light = run.taken.images_e[plane] - found.background_e[plane]
    else:
        waves = shape.to(unit=Unit.WAVES_RMS, wavelength_nm=run.taken.wavelength_nm)
        light = expected(run.taken, found, run.source, waves)[plane]
    return np.asarray(light / found.flux_e[plane])


def _pupil(context: Context) -> Pupil:
    """Return the optics with the pixels of :func:`calibration.stacks.unpack`."""
    pupil = pupil_of(context)
    if not stacks.binned(pupil):
        return pupil
    return replace(pupil, pixel_um=2.0 * pupil.pixel_um)
