"""Attacks on what is shown: de-identified outputs back to people, and outputs to each other.

Inversion. Attacker's knowledge: the whole method with its weights, so that outputs
of other, known people can be made at will, and a sharp photograph of each person
sought. A small network learns from the vector of an output (or of a privacy frame)
to the vector of the person.

Linking. Attacker's knowledge: outputs alone. Two outputs of one person must not be
nearer to each other than two outputs of two.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as fn
from torch import Tensor, nn

from models.evaluation.attacks.learning import Curve, Effort, Labels, Learner, learn
from models.evaluation.identity import Floats, distances, rank_rate, unit, verification

__all__ = ["VectorInverter", "linking_eer"]


class VectorInverter:
    """Learns from vectors of blurred or changed faces to vectors of the people.

    Args:
        dim: Length of the vectors.
        effort: How long.
        held_out: Share of the people kept for judging.
        width: Width of the two hidden layers.
    """

    def __init__(
        self, dim: int, effort: Effort, *, held_out: float = 0.1, width: int = 1024
    ) -> None:
        self.effort, self.held_out = effort, held_out
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(effort.seed)
            self.network = nn.Sequential(
                nn.Linear(dim, width),
                nn.LeakyReLU(0.2),
                nn.Dropout(0.2),
                nn.Linear(width, width),
                nn.LeakyReLU(0.2),
                nn.Linear(width, dim),
            )
        self.shift = torch.zeros(dim)

    def train(
        self, changed: Floats, sharp: Floats, labels: Labels, kept: Path | None = None
    ) -> Curve:
        """Learn from other people.

        Args:
            changed: ``(n, d)`` vectors of their outputs or frames.
            sharp: ``(n, d)`` vectors of their sharp photographs, row by row.
            labels: Who.
            kept: Where the trained network is kept, without suffix.
        """
        people = np.unique(labels)
        aside = np.isin(labels, people[: max(2, round(self.held_out * len(people)))])
        self.shift = torch.as_tensor(unit(changed)[~aside].mean(0), dtype=torch.float32)
        given, wanted = self._rows(changed[~aside]), torch.as_tensor(unit(sharp)).float()
        centres, names = _centres(wanted, labels)
        learned = torch.from_numpy(np.searchsorted(names, labels[~aside]))
        classes = torch.from_numpy(np.searchsorted(names, np.unique(labels[~aside])))

        def loss(rows: Labels) -> Tensor:
            found = fn.normalize(self.network(given[rows]))
            own = learned[rows]
            near = 1.0 - (found * centres[own]).sum(1)
            # Near to the right person, and nearer than to anyone else.
            among = found @ centres[classes].T
            return near.mean() + fn.cross_entropy(16.0 * among, torch.searchsorted(classes, own))

        def judge() -> float:
            found = self.inverted(changed[aside])
            known = centres[torch.from_numpy(np.searchsorted(names, np.unique(labels[aside])))]
            who = list(np.unique(labels[aside]))
            return rank_rate(known.double().numpy(), who, found, list(labels[aside]))

        figure = f"rank-1 among {len(np.unique(labels[aside]))} held-out people"
        learner = Learner(self.network, loss, judge, figure, "higher", int((~aside).sum()))
        return learn(learner, self.effort, kept)

    @torch.no_grad()
    def inverted(self, changed: Floats) -> Floats:
        """Return the vectors of the people behind outputs or frames, unit length."""
        self.network.eval()
        return unit(self.network(self._rows(changed)).double().numpy())

    def _rows(self, changed: Floats) -> Tensor:
        # All outputs share what the method puts into every face; people differ in the rest.
        rows = torch.as_tensor(unit(changed), dtype=torch.float32) - self.shift
        return rows * float(np.sqrt(rows.shape[1]))


def _centres(vectors: Tensor, labels: Labels) -> tuple[Tensor, Labels]:
    names = np.unique(labels)
    rows = [vectors[torch.from_numpy(np.flatnonzero(labels == name))].mean(0) for name in names]
    return fn.normalize(torch.stack(rows)), names


def linking_eer(gallery: Floats, probes: Floats, people: tuple[Labels, Labels]) -> float:
    """Return the equal error rate of "are these two outputs of one person?"; 0.5 is guessing.

    Args:
        gallery: ``(n, d)`` vectors of outputs.
        probes: ``(m, d)`` vectors of other outputs.
        people: Who is behind each of the two.
    """
    table = distances(unit(gallery), unit(probes))
    same = people[0][:, None] == people[1][None, :]
    return verification(table[same], table[~same]).eer
