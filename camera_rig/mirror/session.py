"""One sitting with a mirror: journal on, memory on, safe shape when it goes wrong."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager

from camera_rig.contracts import Mirror
from camera_rig.errors import RigError
from camera_rig.mirror.influence import InfluenceMatrix
from camera_rig.mirror.journal import MirrorJournal
from camera_rig.mirror.memory import HysteresisMemory
from camera_rig.mirror.modal import ModalMirror
from camera_rig.mirror.reference import MirrorFolder

_log = logging.getLogger(__name__)


@contextmanager
def modal_session(
    mirror: Mirror, folder: MirrorFolder, fallback: InfluenceMatrix | None = None
) -> Iterator[ModalMirror]:
    """Give a :class:`ModalMirror` with everything known of this mirror.

    Every command is journalled; hysteresis is followed where a model was fitted and
    the maker does not compensate. An error inside, Ctrl-C included, walks the mirror to
    its safe shape before it goes on its way.

    Args:
        mirror: An open mirror.
        folder: Its files.
        fallback: Matrix to use while none is calibrated; None uses the maker's patterns.

    Raises:
        RigError: Whatever happened inside, or the memory does not fit the mirror.
    """
    journal = MirrorJournal(folder.journal, folder.serial, mirror.clock)
    memory = None
    model = None if mirror.compensates_hysteresis else folder.hysteresis()
    mirror.observers.append(journal)
    try:
        if model is not None:
            memory = HysteresisMemory(model, folder.memory, folder.creep())
            memory.attach(mirror)
        yield ModalMirror(mirror, folder.influence() or fallback, memory)
    except BaseException:
        _park(mirror)
        raise
    finally:
        if memory is not None:
            memory.detach()
        mirror.observers.remove(journal)


def _park(mirror: Mirror) -> None:
    if not mirror.is_open:
        return
    try:
        mirror.park()
    except RigError as error:
        # The first error must reach the user; that parking failed too is in the log.
        _log.error("mirror_not_parked", extra={"device": mirror.name, "why": error.message})
