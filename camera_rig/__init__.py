"""camera-rig: control, acquisition and learning for an optical privacy camera.

The whole vocabulary is in :mod:`camera_rig.contracts`, every error in
:mod:`camera_rig.errors`, and the one way in is :meth:`camera_rig.rig.Rig.open`.
"""

import logging

__version__ = "0.1.0"

# A library is silent until its user configures logging.
logging.getLogger("camera_rig").addHandler(logging.NullHandler())
