"""What an attacker gets back out of a privacy frame."""

from models.evaluation.attacks.richardson_lucy import richardson_lucy
from models.evaluation.attacks.wiener import best_wiener, wiener, wiener_picture

__all__ = ["best_wiener", "richardson_lucy", "wiener", "wiener_picture"]
