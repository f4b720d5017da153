"""From wanted wavefront to forty voltages: feasibility, hysteresis, limits."""
