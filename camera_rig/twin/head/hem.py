"""The garment below the model: the shipped mesh ends under the arms, the cloth hangs on.

The cloth is a riding mesh: each of its points takes the mean place of three points of the
model's open edge, moved down, so that it follows every shape and every thickness of the
garment. Its topmost row of triangles begins at the edge itself.
"""

from __future__ import annotations

from itertools import pairwise

import numpy as np

from camera_rig.twin.head.assets import HeadModel, Ints, Proxy

# Height of each row on the resting head in dm, its width and depth relative to the edge's,
# and how many points to either side it is evened over. The arms stand off the body where
# the model ends: the first row still swings out a little, those below fall straight. The
# last lies 0.6 m below the eyes, out of the window of any bench whose head can be seen.
_ROWS = (
    (4.40, 1.020, 1.00, 1),
    (4.05, 1.026, 1.00, 3),
    (3.50, 1.015, 0.99, 4),
    (2.60, 0.980, 0.98, 4),
    (1.00, 0.940, 0.97, 4),
)


def hem_below(model: HeadModel, first_point: int) -> Proxy:
    """Return the cloth below a model's open edge.

    Args:
        model: The shipped model.
        first_point: Number of the cloth's first point. The triangles run over points of head
            and cloth together: those of the head keep their numbers.
    """
    edge = open_edge(model.tri)
    refs, offsets = [], []
    for height_dm, width, depth, reach in _ROWS:
        ref = np.stack([np.roll(edge, reach), edge, np.roll(edge, -reach)], axis=1)
        mean = model.vertices[ref].mean(axis=1)
        refs.append(ref)
        offsets.append(mean * [width - 1, -1, depth - 1] + [0, height_dm, 0])
    hanging = first_point + np.arange(len(_ROWS) * len(edge)).reshape(len(_ROWS), -1)
    tri = _band([edge, *hanging])
    return Proxy(
        ref=np.concatenate(refs).astype(np.int32),
        weight=np.full((hanging.size, 3), 1 / 3, np.float32),
        offset=np.concatenate(offsets).astype(np.float32),
        tri=tri,
        uv=np.zeros((1, 2), np.float32),  # cloth takes no colour from the skin's map
        tri_uv=np.zeros_like(tri),
    )


def open_edge(tri: Ints) -> Ints:
    """Return the points of a mesh's one open edge in the order in which triangles run along it."""
    sides = np.concatenate([tri[:, [0, 1]], tri[:, [1, 2]], tri[:, [2, 0]]])
    _, first, count = np.unique(
        np.sort(sides, axis=1), axis=0, return_index=True, return_counts=True
    )
    following = dict(sides[first[count == 1]].tolist())
    loop = [min(following)]
    while (point := following[loop[-1]]) != loop[0]:
        loop.append(point)
    return np.array(loop, np.int32)


def _band(rows: list[Ints]) -> Ints:
    """Return triangles between rows of a tube, facing as those above the first row do."""
    tri = []
    for upper, lower in pairwise(rows):
        a, b, a_low, b_low = upper, np.roll(upper, -1), lower, np.roll(lower, -1)
        tri += [np.stack([b, a, a_low], axis=1), np.stack([b, a_low, b_low], axis=1)]
    return np.concatenate(tri).astype(np.int32)
