"""Parts of :mod:`camera_rig.contracts`; import them from there."""
