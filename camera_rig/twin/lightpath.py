"""From the object plane to the sensors: beam splitter, two arms, diffraction.

Each arm knows its mounting (where a point lands), its pupil (how a point spreads) and
how much light it passes. The privacy arm sees the mirror's wavefront and the hidden
static aberration of the bench, the side arm only its own focus.

Orientation: wavefronts are given in the pupil as seen in the upright picture, x right
and y **up**; pictures have row 0 at the top. So ``shape.oriented(rows_down())`` of a
wavefront gives the spot as it stands in the frame.
"""

from __future__ import annotations

import math
import threading
from collections.abc import Callable, Hashable
from dataclasses import dataclass
from typing import Annotated, Generic, TypeVar

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field

from camera_rig.bench import Bench, BranchOptics
from camera_rig.optics import Order, Orientation, PsfModel, Pupil, choose, from_mode
from camera_rig.optics.plan import ray_reach_pixels
from camera_rig.twin import _random
from camera_rig.twin.blur import Blur, blur_for
from camera_rig.twin.geometry import Geometry, GeometryOptions, Grid, Resampler
from camera_rig.twin.mirror import MODES
from camera_rig.twin.scene import Field as SceneField
from camera_rig.twin.scene import Radiance, Scene
from camera_rig.twin.spot import draw_spot
from camera_rig.twin.targets import PointSource

__all__ = ["Arm", "LightPathOptions", "Moment", "StaticWavefront", "arms", "electrons_per_s"]

Floats = NDArray[np.float64]
Floats32 = NDArray[np.float32]
Share = Annotated[float, Field(gt=0, le=1)]

_ROWS_DOWN = np.diag(Orientation.rows_down().matrix(MODES))
_LARGEST_WINDOW = 1024
_HALO_PX = 20
"""How far a PSF goes beyond its farthest ray in a scene, where such faint light is lost."""
_SPOT_HALO_RINGS, _SPOT_HALO_PX = 250, 120
"""The same around a point, in widths of a ring and at most in pixels: there it is what
remains, and a fit to a bright point sees where it ends."""
_SHAPES = 4
_MEASURED = 0.02
"""Share of the tolerance for a point in a still: nothing may stand in the way of its fit."""

T = TypeVar("T")


class LightPathOptions(BaseModel):
    """The light path's hidden facts. None: drawn from the world's seed.

    Args:
        white_cd_per_m2: Luminance of the brightest white of a scene, cd/m².
        photons_per_lumen_s: Photons per lumen and second in each colour's band.
        share_to_privacy: Light that the splitter sends to the mirror.
        mirror_reflectivity: Light that the mirror returns.
        static_waves_rms: Size of the bench's own aberration, waves at 550 nm.
        static_noll: The aberration itself, Noll index to waves at 550 nm.
        focus_drift_um: Height of the slow focus wander, µm RMS of wavefront.
        focus_drift_period_s: Its period, s.
        side_defocus_um: Focus error of the side arm, µm RMS of wavefront.
        tolerance_waves: Change of shape (waves RMS at 550 nm) that makes a new blur.
        privacy: Mounting of the privacy camera.
        side: Mounting of the side camera.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    white_cd_per_m2: Annotated[float, Field(gt=0)] = 4000.0
    photons_per_lumen_s: Annotated[float, Field(gt=0)] = 3.7e15
    share_to_privacy: Share = 0.8
    mirror_reflectivity: Share = 0.9
    static_waves_rms: Annotated[float, Field(ge=0)] = 0.15
    static_noll: dict[int, float] | None = None
    focus_drift_um: Annotated[float, Field(ge=0)] = 0.01
    focus_drift_period_s: Annotated[float, Field(gt=0)] = 900.0
    side_defocus_um: float = 0.03
    tolerance_waves: Annotated[float, Field(gt=0)] = 0.004
    privacy: GeometryOptions = GeometryOptions()
    side: GeometryOptions = GeometryOptions()


@dataclass(frozen=True)
class Moment:
    """What an arm needs to know of one instant.

    Args:
        scene: What stands before the rig.
        key: Equal for two moments only if the light before the rig is equal.
        radiance: Returns the scene's picture.
        source_mm: Where the stage has carried a point source, from its place, mm.
        wavefront_um: Aberration of the arm, µm RMS per mode of the twin's modes.
        exact: Form the picture at full resolution, whatever the blur.
    """

    scene: Scene
    key: Hashable
    radiance: Callable[[], Radiance]
    source_mm: float
    wavefront_um: Floats
    exact: bool = False


class StaticWavefront:
    """The bench's own aberration, with its slow wander of focus.

    Args:
        options: The light path.
        state: Random key.
    """

    def __init__(self, options: LightPathOptions, state: int) -> None:
        self._options = options
        self._phase = 2 * math.pi * _random.uniform(state, 1)
        self.um = np.zeros(len(MODES))
        noll = {from_mode(Order.NOLL, mode): place for place, mode in enumerate(MODES)}
        if options.static_noll is not None:
            values = dict(options.static_noll)
        else:
            # Alignment leaves mostly low orders: each radial order a little less.
            drawn = {j: _random.normal(state, 10 + j) / MODES[noll[j]][0] for j in range(4, 16)}
            size = math.sqrt(sum(value**2 for value in drawn.values()))
            values = {j: options.static_waves_rms * value / size for j, value in drawn.items()}
        for j, waves in values.items():
            self.um[noll[j]] = 0.55 * waves

    def at(self, t_s: float) -> Floats:
        """Return µm RMS per mode at world time ``t_s`` (s)."""
        um = self.um.copy()
        turn = 2 * math.pi * t_s / self._options.focus_drift_period_s + self._phase
        um[MODES.index((2, 0))] += self._options.focus_drift_um * math.sin(turn)
        return um


def electrons_per_s(
    options: LightPathOptions, pupil: Pupil, quantum_efficiency: tuple[float, ...], share: float
) -> Floats:
    """Return electrons per pixel and second from white, by colour.

    Illuminance behind a lens is ``pi/4 L (D/s')^2``; the rest is area and photons.

    Args:
        options: Luminance of white and photons per lumen.
        pupil: Lens and pixels of the arm.
        quantum_efficiency: Electrons per photon in each colour (dimensionless).
        share: Part of the light that reaches the arm, 0 to 1 (dimensionless).
    """
    lux = math.pi / 4 * options.white_cd_per_m2 * (pupil.diameter_mm / pupil.focal_length_mm) ** 2
    lumen = lux * share * (pupil.pixel_um * 1e-6) ** 2
    return lumen * options.photons_per_lumen_s * np.asarray(quantum_efficiency)


class _Shapes(Generic[T]):
    """What was made for the last few shapes, each with a number of its own.

    Args:
        tolerance_um: Change that counts as the same shape, µm RMS without piston.
    """

    def __init__(self, tolerance_um: float) -> None:
        self._tolerance_um = tolerance_um
        self._kept: list[tuple[Floats, int, T]] = []
        self._made = 0

    def of(self, wavefront_um: Floats, make: Callable[[], T]) -> tuple[int, T]:
        """Return what belongs to this shape, made now if it is new."""
        for place, (shape, number, made) in enumerate(self._kept):
            if np.linalg.norm(shape[1:] - wavefront_um[1:]) <= self._tolerance_um:
                if place:
                    self._kept.insert(0, self._kept.pop(place))
                return number, made
        made = make()
        self._made += 1
        self._kept.insert(0, (wavefront_um.copy(), self._made, made))
        del self._kept[_SHAPES:]
        return self._made, made


class Arm:
    """One arm: forms pictures of relative light on its sensor. Thread-safe.

    Args:
        geometry: Mounting.
        optics: Lens and pupil.
        bench: Wavelengths and distances.
        tolerance_waves: Change of wavefront (RMS at 550 nm) that makes a new blur.
    """

    def __init__(
        self, geometry: Geometry, optics: BranchOptics, bench: Bench, tolerance_waves: float
    ) -> None:
        self.geometry = geometry
        self.pupil = Pupil(
            diameter_mm=optics.pupil_diameter_mm,
            focal_length_mm=optics.image_distance_mm(bench.object_distance_mm),
            pixel_um=optics.pixel_um(geometry.size[0]),
            wavelengths_nm=bench.wavelengths_nm,
        )
        self.lock = threading.RLock()
        self._tolerance_um = 0.55 * tolerance_waves
        self._blurs = {exact: _Shapes[Blur](self._tolerance_um) for exact in (False, True)}
        self._spots = {
            False: _Shapes[Floats32](self._tolerance_um),
            True: _Shapes[Floats32](_MEASURED * self._tolerance_um),
        }
        self._models: dict[tuple[int, int, int], PsfModel] = {}
        self._resamplers: dict[tuple[Grid, SceneField], Resampler] = {}
        self._work: dict[tuple[int, int], Floats32] = {}
        self._pictures: dict[Hashable, Floats32] = {}

    def kernel(self, wavefront_um: Floats, halo_px: int = _HALO_PX) -> Floats:
        """Return the PSF on sensor pixels, (3, n, n), axis at ``n // 2``, row 0 on top.

        Args:
            wavefront_um: Aberration, µm RMS per mode of the twin's modes.
            halo_px: How far beyond the farthest ray the window goes, px.
        """
        um = wavefront_um * _ROWS_DOWN
        reach = ray_reach_pixels(um, MODES, self.pupil)
        window = min(_LARGEST_WINDOW, 64 * math.ceil((2.1 * reach + 2 * halo_px) / 64))
        plan = choose(um, MODES, self.pupil, window)
        key = (window, plan.fft_size, plan.samples)
        model = self._models.get(key)
        if model is None:
            if len(self._models) > 6:
                self._models.clear()
            model = self._models[key] = PsfModel(self.pupil, MODES, window, plan=plan, check=False)
        return np.asarray(model(um.astype(np.float32)))

    def blur(self, wavefront_um: Floats, *, exact: bool = False) -> tuple[int, Blur]:
        """Return a number and the filter of this shape; kept while the shape stands."""
        return self._blurs[exact].of(
            wavefront_um,
            lambda: blur_for(self.kernel(wavefront_um), self.geometry.size, exact=exact),
        )

    def picture(self, moment: Moment) -> Floats32:
        """Return relative light (3, H, W) on the sensor, noise-free; do not write to it."""
        with self.lock:
            number, fill = self._way_of(moment)
            key = (isinstance(moment.scene, PointSource), moment.exact, number, moment.key)
            picture = self._pictures.pop(key, None)
            if picture is None:
                picture = self._buffer()
                fill(picture)
            self._pictures[key] = picture  # newest last
            return picture

    def _way_of(self, moment: Moment) -> tuple[int, Callable[[Floats32], None]]:
        """Return the number of the shape and what fills a picture with this moment."""
        scene = moment.scene
        if not isinstance(scene, PointSource):
            number, blur = self.blur(moment.wavefront_um, exact=moment.exact)
            return number, lambda out: blur(self._samples(moment, blur.grid), out)
        place_px = self._source_px(scene, moment.source_mm)
        wavefront_um = moment.wavefront_um + self._aside_um(place_px)
        number, kernel = self._spots[moment.exact].of(
            wavefront_um, lambda: self.kernel(wavefront_um, self._spot_halo_px).astype(np.float32)
        )
        if self._resolves_pixels:
            place_px = np.rint(place_px)
        radius_px = scene.diameter_mm / 2 * self.geometry.px_per_mm
        return number, lambda out: draw_spot(kernel, place_px, radius_px, scene.level, out)

    def forget(self) -> None:
        """Drop kept pictures, as after a change of scene."""
        with self.lock:
            self._pictures.clear()

    def _buffer(self) -> Floats32:
        # Three pictures are enough for an exposure across two changes; older ones lend
        # their memory, so that no frame touches fresh pages.
        if len(self._pictures) >= 3:
            return self._pictures.pop(next(iter(self._pictures)))
        width, height = self.geometry.size
        return np.empty((3, height, width), np.float32)

    def _samples(self, moment: Moment, grid: Grid) -> Floats32:
        shape = (grid.rows, grid.columns)
        work = self._work.get(shape)
        if work is None:
            if len(self._work) > 3:
                self._work.clear()
            work = self._work[shape] = np.empty((3, *shape), np.float32)
        field = moment.scene.field
        resampler = self._resamplers.get((grid, field))
        if resampler is None:
            if len(self._resamplers) > 3:
                self._resamplers.clear()
            resampler = self._resamplers[grid, field] = Resampler(self.geometry, grid, field)
        resampler(moment.radiance(), work)
        return work

    def _source_px(self, source: PointSource, source_mm: float) -> Floats:
        return self.geometry.to_px(np.array([source.x_mm + source_mm, source.y_mm]))

    @property
    def _spot_halo_px(self) -> int:
        rings_px = round(_SPOT_HALO_RINGS * self.pupil.pixels_per_airy(550.0))
        return max(_HALO_PX, min(_SPOT_HALO_PX, rings_px))

    @property
    def _resolves_pixels(self) -> bool:
        """Whether the spot is wider than a pixel, so that a shifted one can be computed."""
        return self.pupil.oversample == 1

    def _aside_um(self, place_px: Floats) -> Floats:
        """Return the tilt that carries a pinhole from its pixel's middle to its true place.

        Area shares of a disc smaller than a pixel would smear it by up to half a pixel.
        An arm whose spot is smaller than a pixel has no use for it: there the shares of
        the disc are what the pixels see.
        """
        um = np.zeros(len(MODES))
        if self._resolves_pixels:
            tilt_um = (place_px - np.rint(place_px)) / (2.0 * self.pupil.pixels_per_slope_um)
            um[MODES.index((1, 1))], um[MODES.index((1, -1))] = tilt_um[0], -tilt_um[1]
        return um


def arms(
    options: LightPathOptions, bench: Bench, sizes: dict[str, tuple[int, int]], seed: int
) -> dict[str, Arm]:
    """Return the privacy and the side arm of one world."""
    result = {}
    for role in ("privacy", "side"):
        optics: BranchOptics = getattr(bench, role)
        size = sizes[role]
        px_per_mm = (
            optics.magnification(bench.object_distance_mm) * 1000.0 / optics.pixel_um(size[0])
        )
        geometry = Geometry.drawn(
            getattr(options, role), size, px_per_mm, _random.key(seed, "geometry", role)
        )
        result[role] = Arm(geometry, optics, bench, options.tolerance_waves)
    return result
