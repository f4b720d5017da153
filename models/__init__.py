"""From distorted frame to new face: learned optics, networks, training, evaluation."""
