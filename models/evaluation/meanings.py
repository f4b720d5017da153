"""What each figure is called, in what unit it is told, and which way is better."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

from models.evaluation.statistics import Figure

Better = Literal["private", "useful", "neither"]

RECOGNISERS = {
    "dlib": "dlib ResNet",
    "faceplugin": "faceplugin",
    "mobilefacenet": "MobileFaceNet",
    "facenet-casia": "FaceNet CASIA",
    "facenet-vggface2": "FaceNet VGGFace2",
}
READERS = {"hog": "dlib HOG", "centerface": "CenterFace", "dlib68": "dlib 68"}


@dataclass(frozen=True)
class Meaning:
    """How a figure is told.

    Args:
        label: Column title.
        told: One sentence for people.
        unit: Unit, after the number; ``%`` multiplies by 100.
        digits: Decimals.
        sign: +1 when more is better, -1 when less is, 0 when neither.
        side: Whom a better value serves: ``private`` or ``useful``.
    """

    label: str
    told: str
    unit: str = ""
    digits: int = 2
    sign: int = 0
    side: Better = "neither"

    def text(self, value: float | None) -> str:
        """Return the number for a table; a dash for none."""
        if value is None or not math.isfinite(value):
            return "–"
        return f"{100.0 * value:.1f}" if self.unit == "%" else f"{value:.{self.digits}f}"

    def interval(self, figure: Figure) -> str:
        """Return the interval for a table; empty without one."""
        if figure.low is None or figure.high is None:
            return ""
        return f"{self.text(figure.low)}–{self.text(figure.high)}"


def _private(label: str, told: str, sign: int, unit: str = "", digits: int = 3) -> Meaning:
    return Meaning(label, told, unit, digits, sign, "private")


def _useful(label: str, told: str, sign: int, unit: str = "", digits: int = 2) -> Meaning:
    return Meaning(label, told, unit, digits, sign, "useful")


def _area(label: str, what: str) -> Meaning:
    told = (
        f"Area of {what}, outlined by 68 points, against where it should be: what both share "
        "over what either covers."
    )
    return _useful(label, told, 1, "%")


MEANINGS: dict[str, Meaning] = {
    "dis": _private("DIS", "Mean distance of an output to its own sharp face.", 1),
    "protected": _private(
        "Protected",
        "Outputs farther from their own sharp face than the threshold found on this set.",
        1,
        "%",
    ),
    "tpr": _private("TPR", "Outputs accepted as their person when one "
                    "stranger in a thousand is.", -1, "%"),
    "accuracy": _private("Verification", "Balanced accuracy at the best threshold; 50 % is "
                         "chance.", -1, "%"),
    "auc": _private("AUC", "Area under the ROC curve; 0.5 is chance.", -1),
    "eer": _private("EER", "Equal error rate; 50 % is chance.", 1, "%"),
    "rank1": _private("Rank 1", "Outputs whose person is the nearest of the gallery.", -1, "%"),
    "rank5": _private("Rank 5", "Outputs whose person is among the five nearest.", -1, "%"),
    "diversity": _private("Diversity", "Mean distance between outputs of one face in "
                          "different styles.", 1),
    "steadiness": _useful("Steadiness", "Mean identity distance of consecutive frames; low is "
                          "steady.", -1, "", 3),
    "found": _useful("Found", "Outputs in which the detector finds a face.", 1, "%"),
    "box_l1_px": _useful("Box", "Mean difference of box sides, pixels at 256.", -1, "px"),
    "landmark_l1_px": _useful("Landmarks", "Mean difference of landmark coordinates from the "
                              "same reader on the sharp face, pixels at 256.", -1, "px"),
    "landmark_truth_l1_px": _useful("Landmarks, truth", "The same from the renderer's exact "
                                    "landmarks.", -1, "px"),
    "face_area": _area("Face area", "the face from jaw to brows"),
    "eyes_area": _area("Eyes area", "both eyes"),
    "mouth_area": _area("Mouth area", "the mouth with its lips"),
    "features_error": _useful("Expression", "How far features move otherwise than they should, "
                              "percent of the eye distance.", -1, "%"),
    "blink_r": _useful("Blinks", "Correlation of eye opening over the frames of a person.", 1),
    "mouth_r": _useful("Mouth", "Correlation of mouth opening over the frames of a person.", 1),
    "pose_deg": _useful("Pose", "Mean difference of yaw, pitch and roll from the same reader on "
                        "the sharp face, degrees.", -1, "°", 1),
    "pose_truth_deg": _useful("Pose, truth", "The same from the exact pose, the reader's constant "
                              "offset taken out.", -1, "°", 1),
    "expression_l1": _useful("Expression net", "Mean difference of the seven expression shares.",
                             -1, "", 3),
    "expression_same": _useful("Same expression", "Outputs with the expression label of the sharp "
                               "face.", 1, "%"),
    "jitter_px": _useful("Jitter", "Mean second difference of landmarks over time, pixels at 256; "
                         "compare with the unprotected row.", -1, "px"),
    "psnr_db": Meaning("PSNR", "Against the sharp face; high means little was changed.", "dB", 1),
    "ssim": Meaning("SSIM", "Against the sharp face.", "", 3),
    "st_lpips": Meaning("ST-LPIPS", "Perceptual distance to the sharp face (shift-tolerant "
                        "AlexNet; not LPIPS).", "", 3),
    "frechet": _useful("Fréchet", "Fréchet distance of EfficientNet-lite0 features to the sharp "
                       "faces (not FID); compare rows of equal count only.", -1, "", 1),
    "kernel": _useful("Kernel", "Unbiased kernel distance of the same features, times 1000.",
                      -1, "", 1),
}  # fmt: skip
"""By the last part of a figure's name."""


def meaning(figure: str) -> Meaning:
    """Return how a figure is told, by its full name."""
    return MEANINGS[figure.rsplit(".", 1)[-1]]


def label(figure: str) -> str:
    """Return a figure's full name for people."""
    parts = figure.split(".")
    title = MEANINGS[parts[-1]].label
    network = {**RECOGNISERS, **READERS}.get(parts[1], "")
    over_time = " (video)" if parts[0] == "video" else ""
    return f"{title}, {network}{over_time}" if network else f"{title}{over_time}"
