"""The live preview: a page on this machine, a window, a virtual camera, a recording."""

from cli.preview.command import preview

__all__ = ["preview"]
