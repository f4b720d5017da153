"""One process of a distributed run: ``python -m tests.models.worker RUN.yaml FOLDER``."""

from __future__ import annotations

import sys
import warnings

import torch

from models.training.config import RunConfig
from models.training.start import train
from models.training.world import joined

if __name__ == "__main__":
    warnings.simplefilter("error")
    torch.set_num_threads(1)
    with joined("cpu") as world:
        for settings, folder in zip(sys.argv[1::2], sys.argv[2::2], strict=True):
            train(RunConfig.load(settings), folder, world)
