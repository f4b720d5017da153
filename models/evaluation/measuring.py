"""Measures every system on every sample, in several processes, and goes on where it stopped."""

from __future__ import annotations

import multiprocessing
import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from dataclasses import dataclass

import numpy as np

from models.evaluation.embedders import Floats
from models.evaluation.gauges import GAUGES, measure
from models.evaluation.material import Material, Sample
from models.evaluation.store import MeasureStore, row_key
from models.evaluation.systems import System

_CHUNK = 4
_WAITING = 4  # jobs per process that are handed out ahead

Progress = Callable[[str, int, int], None]


@dataclass(frozen=True, eq=False)
class Measured:
    """All rows of one system.

    Args:
        rows: Gauge to ``(references, samples, length)``; NaN where nothing was found or
            where a gauge is not used (see :class:`models.evaluation.gauges.GaugeKind`).
    """

    rows: dict[str, Floats]


@dataclass(frozen=True, eq=False)
class _Job:
    """Some samples of one person before one system, in one style, for some gauges."""

    system: System
    reference: int
    samples: tuple[Sample, ...]
    gauges: tuple[str, ...]

    def keys(self, gauge: str) -> list[str]:
        return [row_key(gauge, self.system.key, self.reference, s.key) for s in self.samples]


def measure_all(
    material: Material,
    systems: Sequence[System],
    gauges: Sequence[str],
    store: MeasureStore,
    *,
    workers: int = 0,
    references: int | None = None,
    progress: Progress | None = None,
) -> dict[str, Measured]:
    """Return the rows of every system.

    Args:
        material: What is judged.
        systems: What stands between.
        gauges: What is measured.
        store: Rows that are there already, and where new ones go.
        workers: Processes; 0 measures in this one.
        references: Styles to measure of each system; None for all of them.
        progress: Called with the system's name, pictures done and pictures in all.
    """
    styles = {s.name: min(s.references, references or s.references) for s in systems}
    jobs = [job for s in systems for job in _jobs(material, s, gauges, styles[s.name])]
    open_jobs = _not_known(jobs, store)
    total = sum(len(job.samples) for job in jobs)
    done = total - sum(len(job.samples) for job in open_jobs)
    tell = progress or (lambda step, done, total: None)
    tell("measuring", done, total)
    for job, rows in _run(open_jobs, workers):
        store.put(
            {k: r for g, made in rows.items() for k, r in zip(job.keys(g), made, strict=True)}
        )
        done += len(job.samples)
        tell(job.system.name, done, total)
    return {s.name: _gathered(material, s, gauges, store, styles[s.name]) for s in systems}


def _jobs(
    material: Material, system: System, gauges: Sequence[str], references: int
) -> Iterator[_Job]:
    firsts = _first_of_each(material)
    for reference in range(references):
        wanted = [g for g in gauges if reference == 0 or GAUGES[g].every_reference]
        for few in (False, True):
            chosen = tuple(g for g in wanted if GAUGES[g].every_frame != few)
            samples = [
                s for s, first in zip(material.samples, firsts, strict=True) if first or not few
            ]
            if chosen:
                for start in range(0, len(samples), _CHUNK):
                    yield _Job(system, reference, tuple(samples[start : start + _CHUNK]), chosen)


def _first_of_each(material: Material) -> Floats:
    """Mark the first moment of every person."""
    people = material.people
    return np.concatenate([[True], people[1:] != people[:-1]])


def _not_known(jobs: Sequence[_Job], store: MeasureStore) -> list[_Job]:
    """Leave out what is there; a job keeps only the gauges that miss a row."""
    left = []
    for job in jobs:
        keys = {gauge: job.keys(gauge) for gauge in job.gauges}
        known = store.known([key for some in keys.values() for key in some])
        missing = tuple(g for g, some in keys.items() if any(k not in known for k in some))
        if missing:
            left.append(_Job(job.system, job.reference, job.samples, missing))
    return left


def _measured(job: _Job) -> dict[str, list[Floats]]:
    shown = job.system.show(job.samples, job.reference)
    return {gauge: measure(gauge, shown, job.samples) for gauge in job.gauges}


def _run(jobs: Sequence[_Job], workers: int) -> Iterator[tuple[_Job, dict[str, list[Floats]]]]:
    if workers < 1:
        for job in jobs:
            yield job, _measured(job)
        return
    # A forked child would inherit locks of torch's threads; a fresh one does not.
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(workers, mp_context=context, initializer=_one_thread) as pool:
        waiting: dict[Future[dict[str, list[Floats]]], _Job] = {}
        todo = iter(jobs)
        try:
            while True:
                while len(waiting) < workers * _WAITING and (job := next(todo, None)) is not None:
                    waiting[pool.submit(_measured, job)] = job
                if not waiting:
                    return
                finished, _ = wait(waiting, return_when=FIRST_COMPLETED)
                for future in finished:
                    yield waiting.pop(future), future.result()
        finally:
            for future in waiting:
                future.cancel()


def _one_thread() -> None:
    """One process a core: more threads than cores only wait for each other."""
    import cv2
    import torch

    os.environ["OMP_NUM_THREADS"] = "1"
    cv2.setNumThreads(1)
    torch.set_num_threads(1)


def _gathered(
    material: Material,
    system: System,
    gauges: Sequence[str],
    store: MeasureStore,
    references: int,
) -> Measured:
    found: dict[str, list[list[Floats | None]]] = {}
    for gauge in gauges:
        found[gauge] = []
        for reference in range(references):
            keys = [row_key(gauge, system.key, reference, s.key) for s in material.samples]
            known = store.known(keys)
            found[gauge].append([known.get(key) for key in keys])
    return Measured({gauge: _table(rows) for gauge, rows in found.items()})


def _table(rows: Sequence[Sequence[Floats | None]]) -> Floats:
    length = next(len(row) for one in rows for row in one if row is not None)
    table = np.full((len(rows), len(rows[0]), length), np.nan)
    for r, one in enumerate(rows):
        for i, row in enumerate(one):
            if row is not None:
                table[r, i] = row
    return table
