"""Every error of the toolkit: one small tree, one door.

An error says what happened and carries a ``hint``: what to do next. Each class
has the exit code that the command line returns for it, so scripts can tell a
typo in a file (2) from a camera that is asleep (3). Raise the narrowest class;
add a new class only when a caller would act differently on it.
"""

from __future__ import annotations

from collections.abc import Sequence


class RigError(Exception):
    """Base of all errors that the toolkit raises on purpose.

    Args:
        message: What happened, in one sentence, naming the thing concerned.
        hint: What the user can do next. Never empty.
    """

    exit_code = 1
    kind = "error"

    def __init__(self, message: str, *, hint: str) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint

    def __str__(self) -> str:
        """Return the message and, on its own line, what to do next."""
        return f"{self.message}\n  → {self.hint}"

    def __reduce__(self) -> tuple[object, ...]:
        """Survive a process boundary: workers hand their errors to the owner."""
        return (_rebuild, (type(self), self.message, self.hint, self.__dict__.copy()))


def _rebuild(cls: type[RigError], message: str, hint: str, state: dict[str, object]) -> RigError:
    error = cls.__new__(cls)
    Exception.__init__(error, message)
    error.message, error.hint = message, hint
    error.__dict__.update(state)
    return error


class ConfigError(RigError):
    """A file or an argument is wrong; nothing was touched. Mend the input."""

    exit_code = 2
    kind = "config"


class ConnectError(RigError):
    """A device, library or host cannot be reached, or the link was lost."""

    exit_code = 3
    kind = "connect"


class StateError(RigError):
    """The call is right but not now: not open, already running, no calibration."""

    exit_code = 4
    kind = "state"


class UnsupportedError(RigError):
    """This device, file or platform can never do this; another one may."""

    exit_code = 5
    kind = "unsupported"


class RigTimeoutError(RigError):
    """An answer did not come in time; trying again may work."""

    exit_code = 6
    kind = "timeout"


class SafetyError(RigError):
    """The request would leave the safe range of the hardware; it was not sent."""

    exit_code = 7
    kind = "safety"


class StorageError(RigError):
    """Disk full, torn or tampered data, or a file that cannot be written."""

    exit_code = 8
    kind = "storage"


class PrivacyError(RigError):
    """Consent, key or scope is missing, or an output could show a face. Refused."""

    exit_code = 9
    kind = "privacy"


class GatheredError(RigError):
    """Several failures gathered into one report, so that they are mended in one go.

    Args:
        message: What was attempted, for example "the rig could not be opened".
        errors: ``(where, error)`` pairs in the order they happened.
    """

    kind = "several"

    def __init__(self, message: str, errors: Sequence[tuple[str, RigError]]) -> None:
        if not errors:
            raise ValueError("GatheredError needs at least one error")
        super().__init__(message, hint="mend each of the points above, then try again")
        self.errors = tuple(errors)
        # The gravest class decides: safety and privacy outrank a typo.
        self.exit_code = max(error.exit_code for _, error in errors)

    def __str__(self) -> str:
        """Return an indented tree: where, what, and what to do."""
        lines = [f"{self.message}:"]
        for where, error in self.errors:
            lines.append(f"  {where}: {error.message}")
            lines.append(f"    → {error.hint}")
        return "\n".join(lines)
