"""The bench's own PSF: point source at rest of the mirror, with known defocus either side."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from functools import partial
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt

from calibration import linear, stacks
from calibration.artifact import HeldOut
from calibration.forward import PointSource
from calibration.operator import SceneRequest
from calibration.point_camera import POINT, PointCamera, pupil_of
from calibration.procedure import Context, Fitted, Plan, Procedure, Step
from calibration.psf_figures import pictures
from calibration.retrieval import Retrieval, retrieve
from calibration.stack import PsfStack
from calibration.stacks import DEFOCUS
from calibration.unknowns import RetrievalOptions
from camera_rig.config import RigConfig
from camera_rig.optics import Coefficients, Order, Unit, from_mode, modes

__all__ = [
    "PsfProcedure",
    "bench_options",
    "fit_error",
    "honest",
    "inflation_note",
    "prediction_error",
    "source_px",
]

LOW_ORDERS = modes(Order.NOLL, 4, 10)
DIVERSITY_WAVES = 1.0
LARGEST_FIT_ERROR = 0.15
COLOURS = ("red", "green", "blue")


class PsfProcedure(Procedure):
    """Static aberration with the mirror at rest, in every colour and along the stage.

    Args:
        pinhole_mm: Diameter of the pinhole.
        frames: Pictures averaged per plane.
        field_mm: Further stage positions, from the middle of its travel, mm.
        last_noll: Last mode fitted.
    """

    name: ClassVar[str] = "psf"
    title: ClassVar[str] = "PSF of the bench, mirror at rest"
    devices: ClassVar[tuple[str, ...]] = ("privacy", "mirror")
    needs: ClassVar[tuple[str, ...]] = ("sensor",)
    scene: ClassVar[SceneRequest | None] = POINT
    advice: ClassVar[str] = (
        "see that the pinhole is the only light, sharp and in the middle, then run it again"
    )

    def __init__(
        self,
        pinhole_mm: float = 0.2,
        frames: int = 4,
        field_mm: tuple[float, ...] = (-40.0, 40.0),
        last_noll: int = 21,
    ) -> None:
        self.pinhole_mm, self.frames = pinhole_mm, frames
        self.field_mm, self.last_noll = field_mm, last_noll

    def plan(self, config: RigConfig) -> Plan:
        """Return what a run would do."""
        places = 1 + (len(self.field_mm) if "stage" in config.devices else 0)
        moves = 40 + 4 * places
        exposures = places * 4 * 3 * (self.frames + 3)
        return Plan(moves, exposures, 0.5 + exposures * 0.5 / 60.0, POINT.instruction)

    def steps(self, context: Context) -> Iterator[Step]:
        """Yield the middle of the field in three colours, then the other places."""
        yield Step("middle", "PSF in the middle", partial(self._stack, context, None))
        if context.rig.has("stage"):
            for mm in self.field_mm:
                yield Step(
                    f"field{mm:+.0f}", f"PSF at {mm:+g} mm", partial(self._stack, context, mm)
                )

    def fit(self, context: Context, data: Mapping[str, Mapping[str, Any]]) -> Fitted:
        """Fit each colour and place; predict a plane that no fit has seen."""
        listed = modes(Order.NOLL, 4, self.last_noll)
        found: dict[str, Retrieval] = {}
        stacks_: dict[str, PsfStack] = {}
        for channel, colour in enumerate(COLOURS):
            stack = self._read(context, data["middle"], channel).only([0, 1, 3])
            stacks_[colour] = stack
            found[colour] = retrieve(stack, self._options(context, listed, channel))
        green = found["green"]
        stack = self._read(context, data["middle"], linear.GREEN)
        held = stack.only([2])
        scaled = _times(held.diversity[0], green.gain)
        held = replace(held, diversity=(scaled,))
        nothing = Coefficients({}, Unit.WAVES_RMS, stack.wavelength_nm)
        source = stacks.point_of(source_px(context, self.pinhole_mm), pupil_of(context))
        before = prediction_error(held, nothing, source)
        after = prediction_error(held, green.shape, source)
        um = green.shape.to(unit=Unit.UM_RMS)
        figures: dict[str, float] = {
            "static_waves_rms": green.shape.rms,
            "strehl": float(np.exp(-((2 * np.pi * green.shape.rms) ** 2))),
            "defocus_gain": green.gain,
            "chi2": green.chi2,
        }
        uncertainty = {"defocus_gain": green.sigma["gain"] * max(green.chi2, 1.0) ** 0.5}
        for mode, sigma in zip(green.modes, np.sqrt(np.diag(honest(green))), strict=True):
            figures[f"z{from_mode(Order.NOLL, mode)}_waves"] = green.shape.values[mode]
            uncertainty[f"z{from_mode(Order.NOLL, mode)}_waves"] = float(sigma)
        field = {}
        for mm in self.field_mm:
            if f"field{mm:+.0f}" in data:
                there = self._read(context, data[f"field{mm:+.0f}"], linear.GREEN)
                result = retrieve(there.only([0, 1, 3]), self._options(context, listed))
                field[f"{mm:+g}"] = result.shape.numbers
                gap = result.values - green.values
                figures[f"field_change_waves_at_{mm:+g}_mm"] = float(np.linalg.norm(gap))
        for colour in ("red", "blue"):
            other = found[colour].shape.to(unit=Unit.UM_RMS).array(listed)
            differs = float(np.linalg.norm(other - um.array(listed))) / 0.55
            figures[f"{colour}_differs_waves"] = differs
        misfit = {c: fit_error(r, stacks_[c]) for c, r in found.items()}
        figures |= {f"{c}_fit_residual": v for c, v in misfit.items()}
        bad = [c for c, v in misfit.items() if v > LARGEST_FIT_ERROR]
        return Fitted(
            figures=figures,
            uncertainty=uncertainty,
            held_out=HeldOut(
                metric="residual of a plane the fit had not seen, relative RMS",
                before=before,
                after=after,
                limit=0.3,
            ),
            payload={
                "shape_um": {str(from_mode(Order.NOLL, m)): v for m, v in um.values.items()},
                "covariance_waves2": honest(green).tolist(),
                "field_waves": field,
                "channels": {c: r.shape.numbers for c, r in found.items()},
            },
            arrays={
                "image_e": stack.images_e,
                "expected_e": green.expected_e,
                "centre_px": data["middle"]["g_centre_px"],
            },
            pictures=pictures(green, stacks_["green"], source, _plane_names(green.gain)),
            problems=tuple(
                f"the {c} PSF does not fit any shape: {misfit[c]:.0%} of it are left" for c in bad
            ),
            notes=(
                *inflation_note(green.chi2),
                "the sign of even modes rests on the polarity of the mirror's stroke in the "
                "configuration",
            ),
        )

    def _options(
        self, context: Context, listed: Any, channel: int = linear.GREEN
    ) -> RetrievalOptions:
        pupil = pupil_of(context, channel)
        source = stacks.point_of(source_px(context, self.pinhole_mm), pupil)
        return bench_options(listed, reference=2, source=source)

    def _stack(self, context: Context, field_mm: float | None) -> dict[str, Any]:
        rig = context.rig
        if rig.has("stage"):
            low, high = rig.stage.limits_mm
            rig.stage.move_to((low + high) / 2.0 + (field_mm or 0.0), timeout_s=60.0)
        stacks.settle(rig.mirror)
        unit = self._unit(context)
        ones = np.ones(rig.mirror.actuators)
        # The rest comes last, so that the shape found is the shape that stands.
        commands = [stacks.to_volts(rig.mirror, k * unit * ones) for k in (-1.0, 1.0, 0.5, 0.0)]
        kept: dict[str, Any] = {}
        channels = range(3) if field_mm is None else (linear.GREEN,)
        for channel in channels:
            camera = PointCamera(context, channel, self.frames, bracket=True)
            camera.light_on()
            rig.mirror.apply(commands[1], reason="psf: window")
            size = camera.window_for()
            part = stacks.measure(camera, commands, size, "psf")
            kept |= {f"{'rgb'[channel]}_{key}": value for key, value in part.items()}
        return kept

    def _read(self, context: Context, data: Mapping[str, Any], channel: int) -> PsfStack:
        start = "rgb"[channel] + "_"
        part = {k.removeprefix(start): v for k, v in data.items() if k.startswith(start)}
        um = 0.55 * DIVERSITY_WAVES
        offsets = [{DEFOCUS: -um}, {DEFOCUS: um}, {DEFOCUS: um / 2}, {}]
        return stacks.unpack(part, offsets, pupil_of(context, channel))

    def _unit(self, context: Context) -> float:
        return 0.55 * DIVERSITY_WAVES / stacks.defocus_um_per_unit(context.rig.config.bench)


def bench_options(
    listed: Any, *, reference: int | None, source: PointSource, **more: Any
) -> RetrievalOptions:
    """Return the options for real pictures: a gain, and a mirror that errs mode by mode."""
    known: dict[str, Any] = {
        "modes": tuple(listed),
        "fit_gain": True,
        "gain_sigma": 0.3,
        "offset_modes": LOW_ORDERS,
        "offset_sigma_waves": 0.02,
        "reference_plane": reference,
        "source": source,
        # At hundreds to one the last per cent of optics and creep shows in chi-squared;
        # a wrong valley is far above, and the held-out plane judges.
        "accept_chi2": 30.0,
        "starts": 3,
    }
    return RetrievalOptions(**{**known, **more})


def source_px(context: Context, pinhole_mm: float) -> float:
    """Return the diameter of the pinhole's image, px."""
    bench = context.rig.config.bench
    pupil = pupil_of(context)
    image_mm = pinhole_mm * bench.privacy.magnification(bench.object_distance_mm)
    return float(1000.0 * image_mm / pupil.pixel_um)


def honest(found: Retrieval) -> npt.NDArray[np.float64]:
    """Return the covariance of the shape, larger where the model does not fit, waves squared.

    What photons do not explain is not independent from pixel to pixel, and nobody knows
    which way it pulls: by chi-squared where that is above 1.
    """
    return found.covariance * max(found.chi2, 1.0)


def inflation_note(chi2: float) -> tuple[str, ...]:
    """Return the sentence that tells how ``chi2`` per degree of freedom widened the bars."""
    if chi2 <= 1.1:
        return ()
    return (
        f"chi-squared is {chi2:.1f}: error bars are {np.sqrt(chi2):.2g} times what the photons "
        "alone allow",
    )


def fit_error(found: Retrieval, stack: PsfStack) -> float:
    """Return what a fit leaves of the light, relative RMS."""
    light = stack.images_e - found.background_e[:, None, None]
    good = np.ones(light.shape, bool) if stack.valid is None else stack.valid
    gap = np.where(good, stack.images_e - found.expected_e, 0.0)
    return float(np.sqrt(np.sum(gap**2) / np.sum(np.where(good, light, 0.0) ** 2)))


def prediction_error(plane: PsfStack, shape: Coefficients, source: PointSource) -> float:
    """Return the relative RMS residual of one plane for a given shape.

    Only tilt, flux and background are fitted.
    """
    listed = tuple(shape.values) or ((2, 0),)
    options = RetrievalOptions(
        modes=listed,
        source=source,
        start=shape,
        shape_sigma_waves=1e-6,
        accept_chi2=np.inf,
        starts=1,
    )
    result = retrieve(plane, options)
    return fit_error(result, plane)


def _plane_names(gain: float) -> tuple[str, ...]:
    """Return what the planes of a fit are called, by the defocus that the mirror really made."""
    waves = DIVERSITY_WAVES * gain
    return (f"defocus −{waves:.2f} waves", f"defocus +{waves:.2f} waves", "mirror at rest")


def _times(coefficients: Coefficients, factor: float) -> Coefficients:
    return replace(coefficients, values={m: factor * v for m, v in coefficients.values.items()})
