"""``python -m camera_rig.peers KIND OPTIONS_JSON``: run one peer in this process."""

from __future__ import annotations

import sys

from camera_rig.errors import ConfigError

__all__ = ["main"]


def main(kind: str, options_json: str) -> None:
    """Run the peer ``kind`` until standard input ends."""
    if kind == "m50":
        from camera_rig.peers.m50 import M50Options
        from camera_rig.peers.m50 import serve as serve_m50

        serve_m50(M50Options.model_validate_json(options_json))
    elif kind == "apt":
        from camera_rig.peers.apt import AptOptions
        from camera_rig.peers.apt import serve as serve_apt

        serve_apt(AptOptions.model_validate_json(options_json))
    elif kind == "trigger-box":
        from camera_rig.peers.trigger_box import TriggerBoxOptions
        from camera_rig.peers.trigger_box import serve as serve_trigger_box

        serve_trigger_box(TriggerBoxOptions.model_validate_json(options_json))
    else:
        raise ConfigError(f"unknown peer {kind!r}", hint="use m50, apt or trigger-box")


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2])
