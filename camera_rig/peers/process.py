"""A peer as its own process: one JSON line out when ready, commands in, answers out.

libgphoto2 keeps the interpreter lock during some calls, so an emulator in the same
process would deadlock; and what is killed or unplugged must be a process of its own.
"""

from __future__ import annotations

import contextlib
import json
import subprocess
import sys
from collections.abc import Callable, Mapping
from types import TracebackType
from typing import Any, Self

from pydantic import BaseModel

from camera_rig.errors import ConnectError, RigError

__all__ = ["Command", "PeerProcess", "serve_commands"]

Command = Callable[[list[str]], Mapping[str, Any] | None]
"""A control command: words after its name in, facts for the answer out."""


def serve_commands(ready: Mapping[str, Any], commands: Mapping[str, Command]) -> None:
    """Announce ``ready`` and answer commands from standard input until it ends.

    Each line is ``NAME ARGUMENT…``; each answer is one JSON object on one line. The
    end of input ends the peer, so that it never outlives who started it.
    """
    _say({"ready": True, **ready})
    for line in sys.stdin:
        name, *words = line.split() or [""]
        if name in ("", "#"):
            continue
        if name == "quit":
            return
        command = commands.get(name)
        if command is None:
            _say({"error": f"unknown command {name!r}", "known": [*sorted(commands), "quit"]})
            continue
        try:
            _say(dict(command(words) or {"ok": True}))
        except (RigError, ValueError, IndexError) as error:
            _say({"error": str(error) or repr(error)})


def _say(facts: Mapping[str, Any]) -> None:
    sys.stdout.write(json.dumps(facts) + "\n")
    sys.stdout.flush()


class PeerProcess:
    """Start a peer, steer it, and end it with the ``with`` block.

    Args:
        kind: ``m50``, ``apt`` or ``trigger-box``.
        options: The peer's own options model.

    Raises:
        ConnectError: The peer did not come up.
    """

    def __init__(self, kind: str, options: BaseModel) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "camera_rig.peers", kind, options.model_dump_json()],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        self.address: dict[str, Any] = self._answer()

    def tell(self, command: str) -> dict[str, Any]:
        """Send a control command, such as ``unplug``, and return its answer.

        Raises:
            ConnectError: The peer is gone or does not know the command.
        """
        assert self._process.stdin is not None  # noqa: S101 - narrows for the type checker
        try:
            self._process.stdin.write(command + "\n")
            self._process.stdin.flush()
        except (OSError, ValueError) as error:  # ValueError: we closed it ourselves
            raise ConnectError("the emulated device is gone", hint="start it again") from error
        return self._answer()

    def _answer(self) -> dict[str, Any]:
        assert self._process.stdout is not None  # noqa: S101 - narrows for the type checker
        line = self._process.stdout.readline()
        if not line:
            raise ConnectError(
                f"the emulated device ended with code {self._process.wait()}",
                hint="see its messages above",
            )
        facts: dict[str, Any] = json.loads(line)
        if "error" in facts:
            raise ConnectError(str(facts["error"]), hint="see `rig peer --help` for the commands")
        return facts

    @property
    def pid(self) -> int:
        """Process id."""
        return self._process.pid

    def close(self) -> None:
        """End the peer by ending its input; kill it if it does not obey."""
        with contextlib.suppress(OSError):  # the pipe of a peer that died is broken already
            if self._process.stdin is not None:
                self._process.stdin.close()
        try:
            self._process.wait(timeout=5)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        if self._process.stdout is not None:
            self._process.stdout.close()

    def __enter__(self) -> Self:
        """Return the running peer."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """End the peer."""
        self.close()
