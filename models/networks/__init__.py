"""Networks of the paper, written afresh: U, E, G, S, D, and the fast student."""

from models.networks.heatmap import HeatmapNetwork
from models.networks.layers import parameter_count
from models.networks.presets import (
    PRESETS,
    FaceNetworks,
    NetworkSizes,
    build_face_networks,
    build_heatmap_network,
    preset,
)

__all__ = [
    "PRESETS",
    "FaceNetworks",
    "HeatmapNetwork",
    "NetworkSizes",
    "build_face_networks",
    "build_heatmap_network",
    "parameter_count",
    "preset",
]
