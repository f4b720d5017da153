"""How the figures of a calibration read on a page: words, unit, as many digits as are known."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass

from camera_rig.mirror.names import mode_name
from camera_rig.optics import Order, to_mode

__all__ = ["Reading", "mode_number", "read", "rounded"]

_UNITS = {
    "e_per_dn": "e⁻ per step",
    "e_per_s": "e⁻/s",
    "waves_rms": "waves RMS",
    "waves": "waves RMS",
    "mm": "mm",
    "ms": "ms",
    "ppm": "ppm",
    "px": "px",
    "deg": "°",
    "um": "µm",
    "dn": "steps",
    "s": "s",
    "e": "e⁻",
}
"""How the endings of figures' names read, longest first."""

_WORDS = {
    "dark_e_per_s": "dark current",
    "black_offset_dn": "black level left",
    "saturation_e": "saturation",
    "saturation_dn": "saturation of the converter",
    "iso": "ISO speed",
    "offset_ms": "offset, side minus privacy",
    "jitter_ms": "jitter of one difference",
    "residual_ms": "left after the model, RMS",
    "moments": "moments seen by both cameras",
    "span_s": "time from first to last",
    "rival_misfit": "misfit of the next best delay over the best",
    "readout_difference_ms": "difference of the readout times",
    "claps": "flips of the mirror seen",
    "privacy_behind_rig_ms": "privacy stamps behind the mirror's commands",
    "privacy_against_rig_ppm": "drift of privacy against the rig's clock",
    "place_error_px": "error of a place held out, RMS",
    "places": "places",
    "field_sigma_px": "uncertainty of the map, RMS over the field",
    "shift_of_middle_x_px": "shift of the middle, right",
    "shift_of_middle_y_px": "shift of the middle, down",
    "shape_moves_picture_x_px": "the mirror's shape moves the picture, right",
    "shape_moves_picture_y_px": "the mirror's shape moves the picture, down",
    "static_waves_rms": "static aberration",
    "strehl": "Strehl ratio",
    "defocus_gain": "defocus of the mirror over the maker's",
    "chi2": "chi-squared per degree of freedom",
    "red_differs_waves": "shape in red, differs by",
    "blue_differs_waves": "shape in blue, differs by",
    "orientation_deg": "mirror turned by",
    "beam_scale": "beam over its nominal diameter",
    "decentre_x_mm": "beam off the mirror's middle, x",
    "decentre_y_mm": "beam off the mirror's middle, y",
    "dead_actuators": "dead electrodes",
    "small_signal_gain": "slope of small moves over the whole range's",
    "matrix_sigma_um": "uncertainty of a matrix element, RMS",
    "small_pattern_error_sigmas": "the same, RMS in standard deviations",
    "strong_shape_error_sigmas": "the same, RMS in standard deviations",
    "residual_waves_rms": "left to correct",
    "first_residual_waves_rms": "left before the first correction",
    "iterations": "corrections",
    "wanted_waves_rms": "size of the wanted shape",
}
_SHARES = {
    "nonlinearity": "largest departure from a line",
    "flat_spread": "pixel to pixel spread of sensitivity",
    "flat_noise": "noise of the flat field",
    "explained": "motion that both cameras see alike",
    "side_distortion": "distortion of the side lens, corner",
    "privacy_distortion": "distortion of the privacy lens, corner",
    "layout_misfit": "matrix left over by the layout",
    "small_pattern_error": "small pattern foretold wrongly by",
    "strong_shape_error": "strong shape foretold wrongly by",
    "hysteresis": "opening of the hysteresis loop",
    "loop_residual": "loop left over by the play model",
    "creep_per_decade": "creep per decade of time",
    "stroke_used": "range used by the busiest electrode",
    "red_fit_residual": "light left over by the fit, red",
    "green_fit_residual": "light left over by the fit, green",
    "blue_fit_residual": "light left over by the fit, blue",
}
"""Relative figures, shown in per cent."""
_YES_OR_NO = {"flipped": "mirror seen mirrored"}
_MODE = re.compile(r"z(\d+)_waves$")
_PLACE = re.compile(r"field_change_waves_at_([+-][\d.]+)_mm$")


@dataclass(frozen=True)
class Reading:
    """One figure for a person.

    Args:
        words: What it is.
        value: The number, with as many digits as its uncertainty allows.
        error: The same of one standard deviation, empty where it is not known.
        unit: Its unit, empty for a plain number.
    """

    words: str
    value: str
    error: str
    unit: str


def read(name: str, value: float, sigma: float | None) -> Reading:
    """Return how a figure reads; ``name``, ``value`` and ``sigma`` in the record's unit."""
    if name in _YES_OR_NO:
        return Reading(_YES_OR_NO[name], "yes" if value else "no", "", "")
    words, unit, factor = _named(name)
    shown, error = rounded(factor * value, None if sigma is None else factor * sigma)
    return Reading(words, shown, error, unit)


def mode_number(name: str) -> int | None:
    """Return the Noll number if a figure is a coefficient of the shape, else None."""
    found = _MODE.match(name)
    return None if found is None else int(found[1])


def rounded(value: float, sigma: float | None) -> tuple[str, str]:
    """Return a value and its standard deviation ``sigma`` (same unit) as text.

    Two digits of the error, and no more of the value; without an error the value has four
    digits, and whole numbers stay whole.
    """
    if sigma is None or not math.isfinite(sigma) or sigma <= 0.0:
        whole = float(value).is_integer() or 1000.0 <= abs(value) < math.inf
        return (f"{value:.0f}" if whole else f"{value:.4g}"), ""
    decimals = 1 - math.floor(math.log10(sigma))
    if not 0 <= decimals <= 8:
        return f"{value:.4g}", f"{sigma:.2g}"
    return f"{value:.{decimals}f}", f"{sigma:.{decimals}f}"


def _named(name: str) -> tuple[str, str, float]:
    """Return a figure's words, its unit, and what to multiply it by."""
    if name in _SHARES:
        return _SHARES[name], "%", 100.0
    number = mode_number(name)
    if number is not None:
        return f"Z{number} {mode_name(to_mode(Order.NOLL, number))}", "waves", 1.0
    place = _PLACE.match(name)
    if place is not None:
        return f"shape at {place[1].replace('-', '−')} mm, differs by", "waves RMS", 1.0
    for ending, unit in _UNITS.items():
        if name.endswith("_" + ending):
            plain = name[: -len(ending) - 1].replace("_", " ")
            return _WORDS.get(name, plain), unit, 1.0
    return _WORDS.get(name, name.replace("_", " ")), "", 1.0
