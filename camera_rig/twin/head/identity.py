"""Who a synthetic head is: one seed decides shape, age, skin, hair, brows and eyes.

Nobody is modelled on a person. The amplitudes are set by eye: wide enough that
recognisers tell identities apart, narrow enough that faces stay plausible.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np

from camera_rig.twin.head.assets import Floats, HeadModel

Sex = Literal["female", "male"]
SkinGroup = Literal["light", "medium", "tan", "brown", "dark"]
_GROUPS: tuple[SkinGroup, ...] = ("light", "medium", "tan", "brown", "dark")
_ANCESTRIES = ("african", "asian", "caucasian")

# Melanin share at which a skin group begins, 0 the palest and 1 the darkest skin.
_GROUP_EDGES = (0.22, 0.42, 0.62, 0.8)

_HAIR_COLOURS: dict[str, tuple[float, float, float]] = {
    "black": (0.012, 0.010, 0.009),
    "dark brown": (0.035, 0.022, 0.015),
    "brown": (0.080, 0.045, 0.026),
    "light brown": (0.165, 0.095, 0.050),
    "blond": (0.34, 0.25, 0.145),
    "red": (0.23, 0.070, 0.025),
    "grey": (0.28, 0.27, 0.26),
    "white": (0.62, 0.61, 0.59),
}

_MALE_HAIR = ("short01", "short02", "short03", "short04", "afro01", "none")
_FEMALE_HAIR = ("bob01", "bob02", "long01", "ponytail01", "Braid01", "short01", "afro01")


@dataclass(frozen=True, kw_only=True)
class Identity:
    """A synthetic person.

    Args:
        seed: The number that decides everything below.
        sex: Sex that the shape leans to.
        age_years: Apparent age, 18 to 78.
        skin_group: Coarse skin tone, for fairness tables.
        melanin: Skin tone, 0 (palest) to 1 (darkest).
        blood: Redness of the skin, 0 to 1.
        ancestry: Shares of the model's three ancestries in the order African, Asian,
            Caucasian; they sum to 1.
        weight: Face fullness, -1 (lean) to 1 (full).
        local: Strength of each local shape target by name.
        hair_style: Name of the hair mesh, or ``none``.
        hair_colour: Name of the hair colour.
        hair_rgb: Linear reflectance of the hair.
        brow_style: Name of the brow mesh.
        lash_style: Name of the lash mesh.
        eye_colour: Name of the iris map.
        beard: Strength of stubble or beard, 0 to 1, and its cut: 0 full, 1 chin only.
        freckles: Strength of freckles, 0 to 1.
        make_up: Strength of lip and eye colour, 0 to 1.
    """

    seed: int
    sex: Sex
    age_years: float
    skin_group: SkinGroup
    melanin: float
    blood: float
    ancestry: tuple[float, float, float]
    weight: float
    local: dict[str, float]
    hair_style: str
    hair_colour: str
    hair_rgb: tuple[float, float, float]
    brow_style: str
    lash_style: str
    eye_colour: str
    beard: tuple[float, float]
    freckles: float
    make_up: float

    @classmethod
    def from_seed(cls, seed: int, model: HeadModel) -> Identity:
        """Return the person that a seed stands for; different seeds give different people."""
        rng = np.random.default_rng([0xFACE, seed])
        sex: Sex = "female" if rng.random() < 0.5 else "male"
        age_years = float(18 + 60 * rng.beta(1.15, 1.9))
        ancestry = rng.dirichlet((0.28, 0.28, 0.28))
        melanin = _melanin(rng, ancestry)
        colour = _hair_colour(rng, melanin, age_years)
        spread = rng.normal(1.0, 0.035, 3)
        rgb = np.clip(np.array(_HAIR_COLOURS[colour]) * rng.lognormal(0, 0.2) * spread, 0, 1)
        return cls(
            seed=seed,
            sex=sex,
            age_years=age_years,
            skin_group=_GROUPS[int(np.searchsorted(_GROUP_EDGES, melanin))],
            melanin=melanin,
            blood=float(np.clip(rng.normal(0.45, 0.2), 0, 1)),
            ancestry=(float(ancestry[0]), float(ancestry[1]), float(ancestry[2])),
            weight=float(np.clip(rng.normal(0.0, 0.45), -1, 1)),
            local=_local_shape(rng, model),
            hair_style=_hair_style(rng, sex, age_years, ancestry[0]),
            hair_colour=colour,
            hair_rgb=(float(rgb[0]), float(rgb[1]), float(rgb[2])),
            brow_style=_brow_style(rng, sex),
            lash_style=f"eyelashes0{rng.integers(2, 5)}",
            eye_colour=_eye_colour(rng, melanin),
            beard=_beard(rng, sex),
            freckles=float(max(0.0, rng.normal(-0.2, 0.5)) * (melanin < 0.5)),
            make_up=float(max(0.0, rng.normal(0.25, 0.4)) if sex == "female" else 0.0),
        )

    def macro_weights(self) -> dict[str, float]:
        """Return the strengths of the ancestry, sex, age and fullness targets."""
        old = float(np.clip((self.age_years - 25) / 60, 0, 1))
        weights = {}
        for age, age_share in (("young", 1 - old), ("old", old)):
            for ancestry, share in zip(_ANCESTRIES, self.ancestry, strict=True):
                weights[f"macro/{ancestry}-{self.sex}-{age}"] = age_share * share
            body = f"macro/universal-{self.sex}-{age}-averagemuscle-"
            weights[f"{body}averageweight"] = age_share * (1 - abs(self.weight))
            weights[f"{body}maxweight"] = age_share * max(self.weight, 0.0)
            weights[f"{body}minweight"] = age_share * max(-self.weight, 0.0)
        return weights


def _melanin(rng: np.random.Generator, ancestry: Floats) -> float:
    middle = float(ancestry @ np.array([0.80, 0.36, 0.24]))
    return float(np.clip(rng.normal(middle, 0.10), 0.0, 1.0))


def _hair_colour(rng: np.random.Generator, melanin: float, age_years: float) -> str:
    if rng.random() < np.clip((age_years - 44) / 30, 0, 0.9):
        return "white" if rng.random() < np.clip((age_years - 50) / 40, 0, 0.6) else "grey"
    if melanin > 0.55:
        return "black" if rng.random() < 0.8 else "dark brown"
    names = ("black", "dark brown", "brown", "light brown", "blond", "red")
    return str(rng.choice(names, p=(0.18, 0.24, 0.23, 0.16, 0.13, 0.06)))


def _hair_style(rng: np.random.Generator, sex: Sex, age_years: float, african_share: float) -> str:
    if sex == "male":
        odds = np.array([1.0, 0.9, 0.4, 1.0, 1.8 * african_share, 0.2 + age_years / 90])
        return str(rng.choice(_MALE_HAIR, p=odds / odds.sum()))
    odds = np.array([0.05, 0.25, 1.0, 1.1, 0.9, 0.35, 1.5 * african_share])
    return str(rng.choice(_FEMALE_HAIR, p=odds / odds.sum()))


def _brow_style(rng: np.random.Generator, sex: Sex) -> str:
    full, fine = (1, 2, 3, 4, 5, 8, 9, 12), (1, 2, 3, 4, 6, 7, 10, 11)
    return f"eyebrow{int(rng.choice(full if sex == 'male' else fine)):03d}"


def _eye_colour(rng: np.random.Generator, melanin: float) -> str:
    if rng.random() < np.clip(0.15 + 1.6 * melanin, 0, 0.97):
        return "brownlight_eye"
    pale = ("blue_eye", "bluegreen_eye", "deepblue_eye", "green_eye", "grey_eye", "lightblue_eye")
    return str(rng.choice(pale))


def _beard(rng: np.random.Generator, sex: Sex) -> tuple[float, float]:
    if sex == "female":
        return (0.0, 0.0)
    strength = rng.choice([0.12, 0.35, 0.65, 0.95], p=[0.4, 0.25, 0.2, 0.15])
    return (float(strength), float(rng.random() < 0.3))


# Spread of the strengths per region. Ears and eyes look odd soonest.
_SPREAD = {
    "head": 0.17, "forehead": 0.35, "eyebrows": 0.25, "eyes": 0.26, "nose": 0.36,
    "mouth": 0.34, "chin": 0.36, "cheek": 0.36, "ears": 0.22,
}  # fmt: skip
_ASYMMETRY = 0.05
_LIMIT = 0.85


def _local_shape(rng: np.random.Generator, model: HeadModel) -> dict[str, float]:
    """Draw each opposed pair of targets once, left and right alike but for a trace."""
    local: dict[str, float] = {}
    for plus, minus in _opposed_pairs(model):
        spread = _SPREAD[plus.split("/")[1]]
        if minus is None:
            # Lone targets (square head, round ear) only add; most people have little of each.
            value = max(0.0, rng.normal(-0.3, 1.0)) * spread
        else:
            value = rng.normal(0.0, spread)
        for side in (plus,) if "/l-" not in plus else (plus, plus.replace("/l-", "/r-")):
            shown = value if side == plus else value + rng.normal(0.0, _ASYMMETRY)
            name = side if shown >= 0 or minus is None else _same_side(minus, side)
            local[name] = float(min(abs(shown), _LIMIT))
    return local


def _same_side(minus: str, side: str) -> str:
    return minus.replace("/l-", "/r-") if "/r-" in side else minus


_OPPOSITES = (
    ("-incr", "-decr"), ("-up", "-down"), ("-in", "-out"), ("-forward", "-backward"),
    ("-convex", "-concave"), ("-compress", "-uncompress"), ("-narrow", "-wide"),
)  # fmt: skip


def _opposed_pairs(model: HeadModel) -> list[tuple[str, str | None]]:
    names = [n for n in model.targets if n.startswith("local/") and "/r-" not in n]
    pairs: list[tuple[str, str | None]] = []
    taken: set[str] = set()
    for name in names:
        if name in taken:
            continue
        opposite = next(
            (
                other
                for a, b in _OPPOSITES
                for first, second in ((a, b), (b, a))
                if name.endswith(first)
                and (other := name.removesuffix(first) + second) in model.targets
            ),
            None,
        )
        taken.update({name, opposite or name})
        pairs.append((name, opposite))
    return pairs
