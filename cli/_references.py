"""Public references by one name: those of the bundle, rendered heads, or a folder."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from models.evaluation.systems import Styles
    from models.runtime.bundle import Bundle

__all__ = ["OWN_REFERENCES", "REFERENCES_HELP", "styles_of"]

OWN_REFERENCES = "bundle"
"""Names the references that a bundle ships."""

REFERENCES_HELP = "Public faces for the outputs: a folder, heads:N, or the bundle's own."
_FALLBACK = "heads:20"


def styles_of(where: str, bundle: Bundle, tell: Callable[[str, int, int], None]) -> Styles:
    """Return references: those that a bundle ships, or heads where it ships none.

    Args:
        where: ``bundle``, ``heads:N`` or a folder.
        bundle: Opened bundle.
        tell: Called with step, done and in all.

    Raises:
        ConfigError: ``heads:N`` names no number.
    """
    import numpy as np

    from cli._heads import heads_named
    from models.data import open_folder
    from models.evaluation.material import public_references
    from models.evaluation.systems import Styles

    size_px = bundle.trained.sizes.size_px
    if where == OWN_REFERENCES:
        if (shipped := Styles.shipped(bundle)) is not None:
            return shipped
        where = _FALLBACK
    count = heads_named(where)
    folder = Path(where) if count is None else public_references(count, size_px, progress=tell)
    source = open_folder(folder, size_px)
    numbers = range(len(source))
    pictures = np.stack([source[i].picture for i in numbers])
    return Styles(pictures, tuple(source.domain_of(i) for i in numbers))
