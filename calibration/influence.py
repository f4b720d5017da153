"""What each electrode really does: pokes and a hysteresis sweep, seen through PSFs.

Small push-pull pokes give the influence of each electrode in Zernike modes; a sweep of
all electrodes in a pattern of high order gives the hysteresis loop, which they share.
Together: wavefront per unit of response, rest shape, play model, dead electrodes, and how
the mirror is turned, mirrored and decentred against the picture.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import replace
from functools import partial
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt

from calibration import stacks
from calibration.artifact import Artifact, HeldOut
from calibration.influence_figures import pictures
from calibration.layout import find_layout, harmonic_signs
from calibration.loop import fit_loop, sweep_levels
from calibration.mirror_files import keep_for_mirror
from calibration.operator import SceneRequest
from calibration.point_camera import POINT, PointCamera, pupil_of
from calibration.procedure import Context, Fitted, Plan, Procedure, Step
from calibration.psf import bench_options, honest, source_px
from calibration.retrieval import Retrieval, retrieve
from calibration.stack import PsfStack
from calibration.stacks import DEFOCUS
from calibration.unknowns import RetrievalOptions
from camera_rig.mirror.influence import InfluenceMatrix, InfluenceModel, Provenance
from camera_rig.optics import Coefficients, Mode, Order, Pupil, Unit, modes
from camera_rig.rig import Rig

__all__ = ["WAVE_UM", "InfluenceProcedure"]

Vector = npt.NDArray[np.float64]

TILTS: tuple[Mode, Mode] = ((1, 1), (1, -1))
WAVE_UM = 0.55
POKE = 0.2
"""Height of a poke, normalised volts: inside the slack of the hysteresis."""
BIAS_WAVES = 1.0
DEAD_SHARE = 0.15
LOST_CHI2 = 30.0
"""Reduced chi-squared of a poke's fit above which it lost its way."""
LOOSE = modes(Order.NOLL, 4, 10)
"""Modes left free along the sweep."""


class InfluenceProcedure(Procedure):
    """Influence matrix, hysteresis, orientation and dead electrodes, by PSFs.

    Args:
        pinhole_mm: Diameter of the pinhole.
        frames: Pictures averaged.
        last_noll: Last mode fitted; forty electrodes make shapes well beyond Noll 15.
        sweep: Record the hysteresis loop too.
    """

    name: ClassVar[str] = "influence"
    title: ClassVar[str] = "Influence of each electrode"
    devices: ClassVar[tuple[str, ...]] = ("privacy", "mirror")
    needs: ClassVar[tuple[str, ...]] = ("sensor", "psf")
    scene: ClassVar[SceneRequest | None] = POINT
    advice: ClassVar[str] = (
        "see that the pinhole stands still and that the mirror has warmed up, then run it again"
    )

    def __init__(
        self, pinhole_mm: float = 0.2, frames: int = 1, last_noll: int = 66, sweep: bool = True
    ) -> None:
        self.pinhole_mm, self.frames = pinhole_mm, frames
        self.last_noll, self.sweep = last_noll, sweep

    def plan(self, rig: Rig) -> Plan:
        """Return what a run would do."""
        count = rig.mirror.actuators if rig.has("mirror") else 40
        pictures_ = 3 + 2 * count + 2 + (len(sweep_levels()) if self.sweep else 0)
        return Plan(
            80 + pictures_, pictures_ * (self.frames + 1), pictures_ * 2.0 / 60, POINT.instruction
        )

    def steps(self, context: Context) -> Iterator[Step]:
        """Yield rest, pokes electrode by electrode, a pattern to check with, the sweep."""
        yield Step("rest", "rest shape", partial(self._rest, context))
        for actuator in range(context.rig.mirror.actuators):
            label = f"poke of electrode {actuator}"
            yield Step(f"poke-{actuator:03d}", label, partial(self._poke, context, actuator))
        yield Step("check", "pattern not fitted", partial(self._check, context))
        if self.sweep:
            yield Step("sweep", "hysteresis sweep", partial(self._sweep, context))

    def fit(self, context: Context, data: Mapping[str, Mapping[str, Any]]) -> Fitted:
        """Retrieve every picture, build the matrix, fit loop and layout, predict the check."""
        listed = modes(Order.NOLL, 4, self.last_noll)
        tools = _Tools(self, context, listed)
        rest = tools.rest(data["rest"])
        defocus_um = rest.gain * WAVE_UM * BIAS_WAVES
        small, sigma = tools.pokes(data, rest, defocus_um)
        check = np.asarray(data["check"]["pattern"])
        loop = fit_loop(tools.loop(data["sweep"], rest, defocus_um, small)) if self.sweep else None
        scale = 1.0 if loop is None else loop.scale
        matrix_um = small / scale
        rows = (*TILTS, *listed)
        resting = np.concatenate([[0.0, 0.0], rest.values * WAVE_UM])
        matrix = InfluenceMatrix(
            modes=rows,
            um_per_unit=matrix_um,
            beam_diameter_mm=context.rig.config.bench.mirror_pupil_mm,
            provenance=Provenance(
                "measured",
                serial=context.rig.mirror.info.serial,
                made_at=stacks.wall_time(context.rig.clock),
                note=f"PSF pokes of ±{POKE:g} of the half-range, Noll 2 to {self.last_noll}",
            ),
            rest_um=resting,
            sigma_um=sigma / scale,
        )
        # The prediction is where the fit begins; a hundred thousand photons say where it ends.
        ahead = small[2:] @ check / WAVE_UM
        found = [
            tools.one(data["check"], rest.values + sign * ahead, defocus_um, p)
            for p, sign in enumerate((1.0, -1.0))
        ]
        nominal = InfluenceModel(
            context.rig.config.bench.mirror, context.rig.config.bench.mirror_pupil_mm
        ).matrix(rows)
        change = (found[0].values - found[1].values) * WAVE_UM / 2.0
        size = float(np.linalg.norm(change))
        before = float(np.linalg.norm(nominal.um_per_unit[2:] @ check - change)) / size
        after = float(np.linalg.norm(small[2:] @ check - change)) / size
        layout = find_layout(context.rig.config.bench, matrix_um[2:], listed)
        dead = [int(i) for i in np.flatnonzero(layout.gain < DEAD_SHARE)]
        figures = {
            "orientation_deg": layout.rotation_deg,
            "flipped": float(layout.flipped),
            "beam_scale": layout.scale,
            "decentre_x_mm": layout.decentre_mm[0],
            "decentre_y_mm": layout.decentre_mm[1],
            "layout_misfit": layout.misfit,
            "dead_actuators": float(len(dead)),
            "small_signal_gain": scale,
            "matrix_sigma_um": float(np.sqrt(np.mean((sigma / scale) ** 2))),
            "defocus_gain": rest.gain,
        }
        texts = {"influence.json": json.dumps(matrix.to_dict()) + "\n"}
        if loop is not None:
            figures["hysteresis"] = float(loop.model.opening().mean())
            figures["loop_residual"] = loop.residual
            count = matrix.actuators
            texts["hysteresis.json"] = json.dumps(loop.tiled(count).to_dict()) + "\n"
        notes = [
            f"electrode {i} does nothing: leave it out, or have the mirror mended" for i in dead
        ]
        return Fitted(
            figures=figures,
            held_out=HeldOut(
                metric="error of the predicted shape of a pattern not fitted, relative",
                before=before,
                after=after,
                limit=0.2,
            ),
            payload={
                "dead": dead,
                "gain": layout.gain.tolist(),
                "sign": np.sign(layout.projection).tolist(),
                "static_um": dict(
                    zip(
                        [str(j) for j in range(4, self.last_noll + 1)],
                        resting[2:].tolist(),
                        strict=True,
                    )
                ),
            },
            arrays={"um_per_unit": matrix_um, "sigma_um": sigma / scale, "rest_um": resting},
            texts=texts,
            pictures=pictures(matrix, layout, loop),
            notes=tuple(notes),
        )

    def taken_into_use(self, context: Context, artifact: Artifact) -> None:
        """Give the matrix and the loop to everybody who drives this mirror."""
        keep_for_mirror(context.store, artifact, context.rig.config.storage.root)

    def _camera(self, context: Context) -> PointCamera:
        camera = PointCamera(context, frames=self.frames)
        camera.light_on()
        return camera

    def _unit(self, context: Context) -> float:
        bench = context.rig.config.bench
        return WAVE_UM * BIAS_WAVES / stacks.defocus_um_per_unit(bench)

    def _rest(self, context: Context) -> dict[str, Any]:
        mirror = context.rig.mirror
        stacks.settle(mirror)
        ones, unit = np.ones(mirror.actuators), self._unit(context)
        commands = [stacks.to_volts(mirror, k * unit * ones) for k in (-1.0, 1.0, 0.0)]
        camera = self._camera(context)
        mirror.apply(commands[1], reason="influence: window")
        size = max(camera.window_for() + 32, 160)
        return {**stacks.measure(camera, commands, size, "influence"), "size": size}

    def _size(self, context: Context) -> int:
        return int(context.store.partial(self.name).get("rest")["size"])

    def _poke(self, context: Context, actuator: int) -> dict[str, Any]:
        mirror, unit = context.rig.mirror, self._unit(context)
        command = np.full(mirror.actuators, unit)
        pair = []
        for sign in (1.0, -1.0):
            poked = command.copy()
            poked[actuator] += sign * POKE
            pair.append(stacks.to_volts(mirror, poked))
        return stacks.measure(self._camera(context), pair, self._size(context), "influence: poke")

    def _check(self, context: Context) -> dict[str, Any]:
        mirror = context.rig.mirror
        pattern = 0.06 * np.random.default_rng(12345).choice([-1.0, 1.0], mirror.actuators)
        # Both signs: what drifts between rest and now is no business of this check.
        unit = self._unit(context)
        command = [stacks.to_volts(mirror, sign * pattern + unit) for sign in (1.0, -1.0)]
        taken = stacks.measure(
            self._camera(context), command, self._size(context), "influence: check"
        )
        return {**taken, "pattern": pattern}

    def _sweep(self, context: Context) -> dict[str, Any]:
        mirror, unit = context.rig.mirror, self._unit(context)
        stacks.settle(mirror)
        signs = harmonic_signs(context.rig.config.bench.mirror)
        levels = sweep_levels()
        commands = [stacks.to_volts(mirror, v * signs + unit) for v in levels]
        camera = self._camera(context)
        largest = min(512, self._largest(context))
        taken = stacks.measure(camera, commands, largest, "influence: sweep")
        return {**taken, "levels": levels, "signs": signs}

    def _largest(self, context: Context) -> int:
        size = context.rig.privacy.settings.size or (320, 320)
        return min(size) // 32 * 32


class _Tools:
    """The retrievals of one influence run."""

    def __init__(self, procedure: InfluenceProcedure, context: Context, listed: Any) -> None:
        self.listed, self.context = listed, context
        self.pupil: Pupil = pupil_of(context)
        self.source = stacks.point_of(source_px(context, procedure.pinhole_mm), self.pupil)
        self.px_per_um = 2.0 * self.pupil.pixels_per_slope_um

    def rest(self, data: Mapping[str, Any]) -> Retrieval:
        um = WAVE_UM * BIAS_WAVES
        stack = stacks.unpack(data, [{DEFOCUS: -um}, {DEFOCUS: um}, {}], self.pupil)
        self.rest_place = self._place(data, 1)
        options = bench_options(self.listed, reference=2, source=self.source)
        found = retrieve(stack, options)
        self.rest_tilt = self._tilt_um(found.tilts_waves[1], self.rest_place)
        return found

    def one(
        self, data: Mapping[str, Any], near: Vector, defocus_um: float, plane: int
    ) -> Retrieval:
        """Retrieve one plane that carries the bias, starting near a known shape (waves)."""
        stack = self._plane(data, defocus_um, plane)
        return retrieve(stack, self._tracking(near))

    def poked(
        self, data: Mapping[str, Any], near: Vector, defocus_um: float
    ) -> tuple[Retrieval, Retrieval]:
        """Retrieve push and pull of one electrode, near a known rest shape (waves).

        They are so near that no coarse bins are needed, and opposite, so that one says
        where the other is.
        """
        quick = replace(self._tracking(near), bins=(1,))
        push = retrieve(self._plane(data, defocus_um, 0), quick)
        mirrored = self._waves(2.0 * near - push.values)
        pull = retrieve(
            self._plane(data, defocus_um, 1),
            replace(quick, start=mirrored if push.chi2 < LOST_CHI2 else quick.start),
        )
        return push, pull

    def _plane(self, data: Mapping[str, Any], defocus_um: float, plane: int) -> PsfStack:
        count = len(data["image_e"])
        return stacks.unpack(data, [{DEFOCUS: defocus_um}] * count, self.pupil).only([plane])

    def pokes(
        self, data: Mapping[str, Mapping[str, Any]], rest: Retrieval, defocus_um: float
    ) -> tuple[Vector, Vector]:
        """Return (µm RMS per normalised volt, its standard deviation), rows tilts first."""
        names = sorted(name for name in data if name.startswith("poke-"))
        matrix = np.zeros((2 + len(self.listed), len(names)))
        sigma = np.zeros_like(matrix)
        for column, name in enumerate(names):
            pair = list(self.poked(data[name], rest.values, defocus_um))
            for p in (0, 1):
                if pair[p].chi2 > LOST_CHI2:
                    nears = [rest.values, 2.0 * rest.values - pair[1 - p].values]
                    again = [self.one(data[name], near, defocus_um, p) for near in nears]
                    pair[p] = min(pair[p], *again, key=lambda result: result.chi2)
            tilt = [
                self._tilt_um(r.tilts_waves[0], self._place(data[name], p))
                for p, r in enumerate(pair)
            ]
            matrix[:2, column] = (tilt[0] - tilt[1]) / (2.0 * POKE)
            matrix[2:, column] = (pair[0].values - pair[1].values) * WAVE_UM / (2.0 * POKE)
            both = np.sqrt(sum(np.diag(honest(found)) for found in pair))
            sigma[2:, column] = both * WAVE_UM / (2.0 * POKE)
        return matrix, sigma

    def loop(
        self, data: Mapping[str, Any], rest: Retrieval, defocus_um: float, small: Vector
    ) -> tuple[Vector, Vector]:
        """Return (levels, response in units of small-signal volts) along the sweep."""
        direction = small[2:] @ np.asarray(data["signs"]) / WAVE_UM
        along = self._waves(direction)
        known = rest.values.copy()
        known[self.listed.index((2, 0))] += defocus_um / WAVE_UM
        options = replace(
            self._tracking(np.zeros(len(LOOSE))),
            modes=LOOSE,
            known=self._waves(known),
            shape_sigma_waves=0.3,
            fit_gain=True,
            gain_sigma=0.3,
        )
        levels = np.asarray(data["levels"])
        found: list[float] = []
        whole = stacks.unpack(data, [{}] * len(levels), self.pupil)
        for k, level in enumerate(levels):
            plane = replace(whole.only([k]), diversity=(along,))
            guess = (found[-1] + level - levels[k - 1]) if k else 0.0
            # The amplitude along the pattern is the gain of a known offset.
            result = retrieve(plane, replace(options, gain_start=guess))
            found.append(result.gain)
            # The electrodes' loops do not cancel in focus: follow what is left over.
            options = replace(options, start=result.shape)
        return levels, np.array(found)

    def _tracking(self, near: Vector) -> RetrievalOptions:
        start = self._waves(near)
        return replace(
            bench_options(self.listed, reference=None, source=self.source),
            fit_gain=False,
            offset_modes=(),
            start=start,
            shape_sigma_waves=0.1,
            starts=1,
        )

    def _waves(self, values: Vector) -> Coefficients:
        listed = self.listed[: len(values)]
        pairs = dict(zip(listed, values.tolist(), strict=True))
        return Coefficients(pairs, Unit.WAVES_RMS, self.pupil.wavelengths_nm[0])

    def _place(self, data: Mapping[str, Any], plane: int) -> Vector:
        column, row = np.asarray(data["centre_px"])[plane]
        return np.array([float(column), -float(row)])

    def _tilt_um(self, tilt_waves: Vector, place_px: Vector) -> Vector:
        """Return the whole tilt, µm RMS (x, y up), of window place and fitted tilt."""
        return np.asarray(tilt_waves * WAVE_UM + place_px / self.px_per_um)
