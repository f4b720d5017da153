"""How much of a person is left: verification, identification and distance figures.

Everything works on embeddings and labels, whatever network made them. Thresholds
do not carry over between data sets, so they are calibrated on the data at hand.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from camera_rig.errors import ConfigError

Floats = np.ndarray[Any, np.dtype[np.float64]]
Labels = np.ndarray[Any, np.dtype[np.int64]]


@dataclass(frozen=True)
class Verification:
    """How well distances tell same pairs from different ones.

    Args:
        eer: Equal error rate, 0 … 1.
        eer_threshold: Distance at which both errors are equal.
        auc: Area under the ROC curve, 0.5 is chance.
        tpr_at_fpr: False-positive rate to true-positive rate there.
        best_accuracy: Balanced accuracy at the best threshold.
        best_threshold: That threshold.
        same: Number of same pairs.
        different: Number of different pairs.
    """

    eer: float
    eer_threshold: float
    auc: float
    tpr_at_fpr: dict[float, float]
    best_accuracy: float
    best_threshold: float
    same: int
    different: int


@dataclass(frozen=True)
class Interval:
    """A figure with its 95 % bootstrap interval over identities."""

    value: float
    low: float
    high: float


def unit(embeddings: Floats) -> Floats:
    """Return rows of length 1 (a zero row stays zero)."""
    rows = np.asarray(embeddings, dtype=np.float64)
    length = np.linalg.norm(rows, axis=-1, keepdims=True)
    return rows / np.where(length > 0, length, 1.0)


def distances(first: Floats, second: Floats) -> Floats:
    """Return L2 distances of every row of ``first`` to every row of ``second``."""
    a, b = np.asarray(first, dtype=np.float64), np.asarray(second, dtype=np.float64)
    square = (a * a).sum(1)[:, None] + (b * b).sum(1)[None, :] - 2.0 * (a @ b.T)
    return np.sqrt(np.maximum(square, 0.0))


def identity_distance(originals: Floats, outputs: Floats) -> float:
    """Return DIS: the mean L2 distance of each output to its own original.

    Args:
        originals: ``(n, d)`` embeddings.
        outputs: ``(n, d)``, or ``(n, references, d)`` for several outputs each,
            whose distances are averaged, as in the paper's protocol.
    """
    wanted, found = np.asarray(originals, float), np.asarray(outputs, float)
    if found.ndim == 3:
        wanted = wanted[:, None, :]
    return float(np.linalg.norm(found - wanted, axis=-1).mean())


def protection_rate(originals: Floats, outputs: Floats, threshold: float) -> float:
    """Return the share of outputs farther than ``threshold`` from their original."""
    wanted, found = np.asarray(originals, float), np.asarray(outputs, float)
    return float((np.linalg.norm(found - wanted, axis=-1) > threshold).mean())


def swap_floor(originals: Floats, labels: Sequence[int]) -> float:
    """Return the mean distance to somebody else: what a random swap would score."""
    who = np.asarray(labels)
    table = distances(originals, originals)
    other = who[:, None] != who[None, :]
    if not other.any():
        raise ConfigError("only one identity", hint="a swap floor needs at least two people")
    return float(table[other].mean())


def pairs(embeddings: Floats, labels: Sequence[int]) -> tuple[Floats, Floats]:
    """Return distances of all same and of all different pairs, each pair once."""
    who = np.asarray(labels)
    table = distances(embeddings, embeddings)
    row, column = np.triu_indices(len(who), 1)
    same = who[row] == who[column]
    values = table[row, column]
    return values[same], values[~same]


def roc(same: Floats, different: Floats) -> tuple[Floats, Floats, Floats]:
    """Return thresholds, false-positive and true-positive rates, accepting distance <= t.

    The first threshold accepts nobody.
    """
    same, different = np.sort(same), np.sort(different)
    if not len(same) or not len(different):
        raise ConfigError(
            "a ROC needs same and different pairs",
            hint="give at least two identities, one of them with two pictures",
        )
    values = np.unique(np.concatenate([same, different]))
    steps = np.concatenate([[np.nextafter(values[0], -np.inf)], values])
    accepted_same = np.searchsorted(same, steps, side="right") / len(same)
    accepted_other = np.searchsorted(different, steps, side="right") / len(different)
    return steps, accepted_other, accepted_same


def verification(
    same: Floats, different: Floats, rates: Sequence[float] = (1e-3, 1e-2)
) -> Verification:
    """Return the verification figures of two sets of distances.

    Args:
        same: Distances of pairs of one person.
        different: Distances of pairs of two.
        rates: False-positive rates at which the true-positive rate is wanted.
    """
    steps, fpr, tpr = roc(np.asarray(same, float), np.asarray(different, float))
    gap = fpr - (1.0 - tpr)
    after = int(np.argmax(gap >= 0))
    before = max(after - 1, 0)
    # Between two steps both errors run straight; their meeting is the EER.
    span = gap[after] - gap[before]
    share = 0.0 if span == 0 else -gap[before] / span
    accuracy = 0.5 * (tpr + 1.0 - fpr)
    best = int(np.argmax(accuracy))
    return Verification(
        eer=float(fpr[before] + share * (fpr[after] - fpr[before])),
        eer_threshold=float(steps[after]),
        auc=float(np.trapezoid(tpr, fpr)),
        tpr_at_fpr={rate: float(tpr[fpr <= rate].max()) for rate in rates},
        best_accuracy=float(accuracy[best]),
        best_threshold=float(steps[best]),
        same=len(same),
        different=len(different),
    )


def rank_hits(
    gallery: Floats,
    gallery_labels: Sequence[int],
    probes: Floats,
    probe_labels: Sequence[int],
    rank: int = 1,
) -> Floats:
    """Return, per probe, whether its person is among the ``rank`` nearest people.

    A person is as near as their nearest gallery picture; ties count against the
    defender only by chance: a tied person is counted with the share of orders that
    put them within the rank. Who is not in the gallery cannot be found.
    """
    table = distances(probes, gallery)
    who = np.asarray(gallery_labels)
    people = np.unique(who)
    nearest = np.stack([table[:, who == person].min(1) for person in people], 1)
    hits = np.zeros(len(nearest))
    for number, (row, own) in enumerate(zip(nearest, probe_labels, strict=True)):
        place = np.flatnonzero(people == own)
        if len(place):
            mine = row[place[0]]
            nearer, tied = int((row < mine).sum()), int((row == mine).sum())
            hits[number] = min(max((rank - nearer) / tied, 0.0), 1.0)
    return hits


def rank_rate(
    gallery: Floats,
    gallery_labels: Sequence[int],
    probes: Floats,
    probe_labels: Sequence[int],
    rank: int = 1,
) -> float:
    """Return the share of probes whose person is among the ``rank`` nearest people."""
    return float(rank_hits(gallery, gallery_labels, probes, probe_labels, rank).mean())


def steadiness(embeddings: Floats) -> float:
    """Return the mean distance of consecutive frames of one video (low is steady)."""
    rows = np.asarray(embeddings, float)
    if len(rows) < 2:
        raise ConfigError("one frame has no steadiness", hint="give a video")
    return float(np.linalg.norm(np.diff(rows, axis=0), axis=1).mean())


def reference_diversity(outputs: Floats) -> float:
    """Return the mean distance between outputs of one source in different styles.

    Args:
        outputs: ``(sources, references, d)`` embeddings.
    """
    values = [pairs(one, range(len(one)))[1].mean() for one in np.asarray(outputs, float)]
    return float(np.mean(values))


def bootstrap(
    figure: Callable[[Labels], float],
    labels: Sequence[int],
    *,
    draws: int = 500,
    seed: int = 0,
) -> Interval:
    """Return a figure with its 95 % interval, people drawn with replacement.

    Pictures of one person are not independent, so whole people are drawn.

    Args:
        figure: Called with the row numbers drawn (a row comes twice when its person
            does).
        labels: Person of each row.
        draws: Number of draws.
        seed: Decides them.
    """
    who = np.asarray(labels)
    people = np.unique(who)
    rows = {person: np.flatnonzero(who == person) for person in people}
    rng = np.random.default_rng(seed)
    values = []
    for _ in range(draws):
        chosen = rng.choice(people, len(people))
        values.append(figure(np.concatenate([rows[p] for p in chosen])))
    low, high = np.quantile(values, [0.025, 0.975])
    return Interval(figure(np.arange(len(who))), float(low), float(high))


def mean_by_identity(values: Floats, labels: Sequence[int], *, draws: int = 500) -> Interval:
    """Return the mean of per-picture values with its interval over identities."""
    table = np.asarray(values, float)
    return bootstrap(lambda rows: float(table[rows].mean()), labels, draws=draws)
