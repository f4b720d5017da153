from __future__ import annotations

import math
import pickle
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from camera_rig.errors import ConfigError, StorageError
from camera_rig.optics import Coefficients, Order, Orientation, Unit, modes

OPTICAL = [Unit.WAVES_RMS, Unit.UM_RMS, Unit.RAD_RMS]
NUMBERS = st.dictionaries(
    st.sampled_from(modes(Order.NOLL, 1, 60)), st.floats(-1, 1, allow_subnormal=False), max_size=15
)
SETS = st.builds(
    Coefficients,
    NUMBERS,
    st.sampled_from(list(Unit)),
    st.floats(300, 1100),
    st.sampled_from(list(Order)),
    st.text("abc äµ:#-'\"\n", max_size=20),
)
FILE = "basis: zernike\norder: noll\nunit: waves_rms\nwavelength_nm: 550\nvalues:\n  4: 0.5\n"


@given(SETS, st.sampled_from(OPTICAL), st.floats(300, 1100))
def test_unit_round_trip(one: Coefficients, unit: Unit, wavelength_nm: float) -> None:
    strokes = {mode: 0.5 + 0.1 * mode[0] for mode in one.values}
    there = one.to(unit=unit, wavelength_nm=wavelength_nm, strokes_um=strokes)
    back = there.to(unit=one.unit, wavelength_nm=one.wavelength_nm, strokes_um=strokes)
    assert back.modes == one.modes
    for mode, value in one.values.items():
        assert back.values[mode] == pytest.approx(value, rel=1e-12, abs=1e-300)


@given(SETS, st.sampled_from(list(Order)))
def test_order_changes_the_numbers_never_the_shape(one: Coefficients, order: Order) -> None:
    assert one.to(order=order).values == one.values
    again = Coefficients.numbered(one.to(order=order).numbers, one.unit, order, one.wavelength_nm)
    assert again.values == one.values


@pytest.mark.parametrize("suffix", [".yaml", ".json"])
def test_file_round_trip(tmp_path_factory: pytest.TempPathFactory, suffix: str) -> None:
    folder = tmp_path_factory.mktemp("files")

    @given(SETS)
    def check(one: Coefficients) -> None:
        path = folder / f"set{suffix}"
        one.save(path, overwrite=True)
        read = Coefficients.load(path)
        assert read == one
        assert (read.source, read.notes) == (one.source, one.notes)

    check()
    assert len(list(folder.iterdir())) == 1, "a file written aside was left behind"


def test_known_conversions() -> None:
    one = Coefficients({(2, 0): 0.5}, "waves_rms", 550)
    assert one.to(unit="um_rms").values[2, 0] == pytest.approx(0.275)
    assert one.to(unit="rad_rms").values[2, 0] == pytest.approx(math.pi)
    assert one.to(wavelength_nm=275).values[2, 0] == pytest.approx(1.0)
    part = one.to(unit="stroke_fraction", strokes_um={(2, 0): 0.55})
    assert part.values[2, 0] == pytest.approx(0.5)


def test_published_files_state_both_readings(published: Coefficients) -> None:
    numbers = {4: -0.83, 6: -0.31, 7: 0.08, 8: -0.69, 12: -0.67, 14: 0.18}
    assert {j: v for j, v in published.numbers.items() if v} == numbers
    assert len(published.numbers) == 15
    assert (published.unit, published.order) == (Unit.WAVES_RMS, Order.NOLL)
    assert published.wavelength_nm == 550
    assert published.rms == pytest.approx(1.322, abs=1e-3)
    assert published.values[2, 0] == -0.83
    path = Path(__file__).parents[2] / "hw_configs/coefficients/lopez2024-fraction.yaml"
    share = Coefficients.load(path)
    assert share.numbers == published.numbers
    assert (share.unit, share.order) == (Unit.STROKE_FRACTION, Order.THORLABS)
    assert share.values[2, -2] == -0.83
    for one in (published, share):
        assert "neither the unit nor the index order" in one.notes


def test_what_a_conversion_lacks_is_named() -> None:
    with pytest.raises(ConfigError, match="wavelength_nm"):
        Coefficients({(2, 0): 0.1}, "um_rms").to(unit="waves_rms")
    share = Coefficients({(2, 0): 0.1, (3, 1): 0.2}, "stroke_fraction")
    with pytest.raises(ConfigError, match=r"stroke of modes \(3, 1\)"):
        share.to(unit="um_rms", strokes_um={(2, 0): 1.0})
    with pytest.raises(ConfigError, match="not positive"):
        share.to(unit="um_rms", strokes_um={(2, 0): 1.0, (3, 1): 0.0})
    with pytest.raises(ConfigError, match="common root mean square"):
        _ = share.rms
    with pytest.raises(ConfigError, match="cannot be turned"):
        share.oriented(Orientation(45))


@pytest.mark.parametrize(
    ("values", "unit", "wavelength", "message"),
    [
        ({(2, 0): math.nan}, "um_rms", None, "is nan"),
        ({(2, 1): 0.1}, "um_rms", None, "no Zernike mode"),
        ({(2, 0): 0.1}, "waves", 550, "waves_rms, um_rms, rad_rms, stroke_fraction"),
        ({(2, 0): 0.1}, "waves_rms", None, "needs a wavelength_nm"),
        ({(2, 0): 0.1}, "waves_rms", 0.55, "outside 100"),
        ({(2, 0): 1.1}, "stroke_fraction", None, "outside -1"),
    ],
)
def test_impossible_sets_are_refused(
    values: dict, unit: str, wavelength: float | None, message: str
) -> None:
    with pytest.raises(ConfigError, match=message):
        Coefficients(values, unit, wavelength)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (FILE.replace("unit:", "units:"), "line 3: unknown key 'units'"),
        (FILE.replace("unit: waves_rms\n", ""), "missing key 'unit'"),
        (FILE.replace("waves_rms", "waves"), "line 3: unit: unknown coefficient unit"),
        (FILE.replace("noll", "nol"), "line 2: order: unknown Zernike order"),
        (FILE.replace("  4: 0.5", "  4: much"), "line 6: values.4: 'much' is no number"),
        (FILE.replace("  4: 0.5", "  0: 0.5"), "line 6: values.0: noll index 0"),
        (FILE.replace("  4: 0.5", "  defocus: 0.5"), "line 6: values: 'defocus' is no index"),
        (FILE + "  4: 0.6\n", "line 7: key '4' is given twice"),
        (FILE.replace("  4: 0.5", "  4: 0.5\n  04: 0.6"), "line 7: values.04: .* twice"),
        (FILE.replace("values:\n  4: 0.5\n", "values: [0.5]\n"), "line 5: values is not a mapping"),
        (FILE.replace("zernike", "legendre"), "line 1: basis: unknown basis"),
        ("a: [", "neither YAML nor JSON"),
        ("", "not a mapping"),
    ],
)
def test_wrong_files_are_refused_by_file_line_and_key(
    tmp_path: Path, text: str, message: str
) -> None:
    path = tmp_path / "shape.yaml"
    path.write_text(text)
    with pytest.raises(ConfigError, match=message) as caught:
        Coefficients.load(path)
    assert "shape.yaml" in caught.value.message


def test_unreadable_and_existing_files(tmp_path: Path, published: Coefficients) -> None:
    with pytest.raises(ConfigError, match="cannot read"):
        Coefficients.load(tmp_path / "absent.yaml")
    path = tmp_path / "kept.yaml"
    published.save(path)
    with pytest.raises(StorageError, match="exists already"):
        published.save(path)
    with pytest.raises(StorageError, match="cannot write"):
        published.save(tmp_path / "no" / "folder.yaml")


def test_values_are_frozen_hashable_and_picklable(published: Coefficients) -> None:
    with pytest.raises(TypeError):
        published.values[2, 0] = 1.0  # type: ignore[index]
    assert pickle.loads(pickle.dumps(published)) == published
    assert (
        len(
            {
                published,
                Coefficients.load(
                    Path(__file__).parents[2].joinpath("hw_configs/coefficients/lopez2024.yaml")
                ),
            }
        )
        == 1
    )


def test_an_array_never_drops_a_mode(published: Coefficients) -> None:
    with pytest.raises(ConfigError, match="would be dropped"):
        published.array([(2, 0)])
    assert published.array(modes(Order.NOLL, 1, 21))[3] == -0.83


def test_a_full_stroke_survives_the_rounding_of_a_conversion() -> None:
    full = Coefficients({(9, 1): 1.0}, "stroke_fraction")
    stroke = {(9, 1): 1.4}
    for wavelength_nm in range(300, 1100, 7):
        there = full.to(unit="rad_rms", wavelength_nm=wavelength_nm, strokes_um=stroke)
        back = there.to(unit="stroke_fraction", strokes_um=stroke)
        assert abs(back.values[9, 1]) <= 1.0
