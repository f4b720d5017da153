"""Shared optics fixtures: one bench, the published shape, seeded numbers."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from camera_rig.optics import Coefficients, Pupil

CONFIGS = Path(__file__).parents[2] / "hw_configs" / "coefficients"


@pytest.fixture
def published() -> Coefficients:
    return Coefficients.load(CONFIGS / "lopez2024.yaml")


@pytest.fixture
def pupil() -> Pupil:
    return Pupil(diameter_mm=4.0, focal_length_mm=50.0, pixel_um=3.713)


@pytest.fixture
def random() -> np.random.Generator:
    return np.random.default_rng(20241)
