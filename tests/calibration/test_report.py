"""The page of a calibration: words, units, no more digits than are known, nothing from outside."""

from __future__ import annotations

import re

import pytest

from calibration.artifact import Artifact, HeldOut
from calibration.figure_words import mode_number, read, rounded
from calibration.report import render


@pytest.mark.parametrize(
    ("value", "sigma", "shown"),
    [
        (7.6017e-07, 0.00011, ("0.00000", "0.00011")),
        (0.79386, 0.17, ("0.79", "0.17")),
        (-0.017045, 0.0021, ("-0.0170", "0.0021")),
        (23741.2, None, ("23741", "")),
        (12.0, None, ("12", "")),
        (0.148713, None, ("0.1487", "")),
        (5.0, float("nan"), ("5", "")),
        (float("nan"), None, ("nan", "")),
        (float("inf"), 0.1, ("inf", "0.10")),
        (31415.9, 120.0, ("3.142e+04", "1.2e+02")),
    ],
)
def test_no_more_digits_than_are_known(value, sigma, shown):
    assert rounded(value, sigma) == shown


@pytest.mark.parametrize(
    ("name", "value", "words", "text", "unit"),
    [
        ("gain_e_per_dn", 1.5, "gain", "1.5", "e⁻ per step"),
        ("nonlinearity", 0.0016, "largest departure from a line", "0.16", "%"),
        ("z8_waves", 0.0756, "Z8 coma x", "0.0756", "waves"),
        (
            "field_change_waves_at_-40_mm",
            0.008,
            "shape at −40 mm, differs by",
            "0.008",
            "waves RMS",
        ),
        ("flipped", 1.0, "mirror seen mirrored", "yes", ""),
        (
            "privacy_against_rig_ppm",
            3.25,
            "drift of privacy against the rig's clock",
            "3.25",
            "ppm",
        ),
        ("something_new_um", 2.5, "something new", "2.5", "µm"),
    ],
)
def test_figures_read_as_words_with_their_unit(name, value, words, text, unit):
    shown = read(name, value, None)
    assert (shown.words, shown.value, shown.unit) == (words, text, unit)
    assert (mode_number(name) == 8) == name.startswith("z8")


def page(**more) -> str:
    known = {
        "id": "20260301T000001-abcdef",
        "procedure": "psf",
        "status": "accepted",
        "made_at": "2026-03-01T00:00:01+00:00",
        "config_hash": "0123",
        "figures": {"static_waves_rms": 0.15, "z4_waves": 0.0123},
        "uncertainty": {"z4_waves": 0.0021},
        "held_out": HeldOut(metric="residual", before=0.8, after=0.03, limit=0.3),
    }
    picture = ("Title", "Caption & unit", lambda figure: figure.add_subplot().plot([0, 1]))
    return render(Artifact(**{**known, **more}), [picture], "PSF of the bench")


def test_page_of_an_accepted_run():
    text = page()
    assert "<h1>PSF of the bench</h1>" in text and "it improved a measurement" in text
    assert "± 0.0021" in text and "0.0123" in text and "must not exceed" in text
    assert "Caption &amp; unit" in text and "mirror's temperature" not in text
    # One table for what was found, one for the coefficients.
    assert text.split("<h2>Figures</h2>")[1].split("<h2>")[0].count("<table>") == 2
    assert not re.search(r"(src|href)=.(?!data:)", text)


def test_page_of_a_rejected_run_says_why_and_what_next():
    text = page(status="rejected", reason="too <dark>", advice="switch the lamp on", held_out=None)
    assert "too &lt;dark&gt;" in text and "What to do next: switch the lamp on." in text
    assert "it improved" not in text and "must not exceed" not in text
