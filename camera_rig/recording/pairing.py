"""Pairing two free-running cameras by nearest corrected capture time.

The oldest waiting frame meets the next frame of the other camera, unless that one is
clearly nearer to the frame that follows ours. "Clearly" means a tenth of a period, of
skews averaged over a second: without it two cameras half a period apart would change
partners at every jitter and leave a frame alone each time.
"""

from __future__ import annotations

from bisect import insort
from collections.abc import Iterator
from dataclasses import dataclass

from camera_rig.recording.clockmodel import ClockModel
from camera_rig.recording.packing import Group, PackedFrame

__all__ = ["Pairer", "PairingRules"]

_OTHER = {"privacy": "side", "side": "privacy"}


@dataclass(frozen=True, slots=True)
class PairingRules:
    """How far apart two frames of a pair may be, and how long one waits for the other.

    Args:
        tolerance_ns: Pairs with a larger skew are flagged, ns.
        limit_ns: Frames further apart than this never pair, ns.
        hold_ns: Longest time a frame waits for a partner, rig clock, ns.
    """

    tolerance_ns: int = 20_000_000
    limit_ns: int = 40_000_000
    hold_ns: int = 1_000_000_000


@dataclass(frozen=True, slots=True)
class _Waiting:
    corrected_ns: int
    frame: PackedFrame


class Pairer:
    """Takes frames of both cameras in order of arrival, gives groups in order of capture.

    Every frame that goes in comes out, in exactly one group.

    Args:
        model: Clock model; may be replaced while running by :meth:`use`.
        rules: Tolerances.
    """

    def __init__(self, model: ClockModel, rules: PairingRules | None = None) -> None:
        self.model = model
        self._rules = rules or PairingRules()
        self._waiting: dict[str, list[_Waiting]] = {"privacy": [], "side": []}
        self._ended: set[str] = set()
        self._skew_ns: float | None = None
        self._followed = 0
        self._period_ns: dict[str, float] = {}
        self._steps: dict[str, int] = {}

    @property
    def depth(self) -> int:
        """Frames that wait for a partner."""
        return sum(map(len, self._waiting.values()))

    @property
    def waiting_bytes(self) -> int:
        """Bytes of the frames that wait for a partner."""
        return sum(len(w.frame.blob) for queue in self._waiting.values() for w in queue)

    def use(self, model: ClockModel) -> None:
        """Correct the frames from now on by another model."""
        self.model = model

    def add(self, frame: PackedFrame) -> Iterator[Group]:
        """Take a frame in; yield the groups that are now decided."""
        corrected = self.model.corrected_ns(frame.role, frame.captured_ns)
        insort(self._waiting[frame.role], _Waiting(corrected, frame), key=lambda w: w.corrected_ns)
        yield from self._decide(frame.received_ns)

    def end(self, role: str, now_ns: int) -> Iterator[Group]:
        """Tell that no more frames of ``role`` will come; yield what that decides."""
        self._ended.add(role)
        yield from self._decide(now_ns)

    def tick(self, now_ns: int) -> Iterator[Group]:
        """Yield frames that have waited too long (``now_ns`` is on the rig clock)."""
        yield from self._decide(now_ns)

    def _decide(self, now_ns: int) -> Iterator[Group]:
        while (oldest := self._oldest()) is not None:
            role = oldest.frame.role
            own, other = self._waiting[role], self._waiting[_OTHER[role]]
            expired = now_ns - oldest.frame.received_ns > self._rules.hold_ns
            if not other:
                if not (expired or _OTHER[role] in self._ended):
                    return
                yield self._alone(own)
            elif other[0].corrected_ns - oldest.corrected_ns > self._rules.limit_ns:
                yield self._alone(own)
            elif len(own) > 1:
                yield self._nearer(own, other)
            elif expired or role in self._ended:
                yield self._pair(own, other)
            else:
                return

    def _oldest(self) -> _Waiting | None:
        heads = [queue[0] for queue in self._waiting.values() if queue]
        return min(heads, key=lambda w: w.corrected_ns, default=None)

    def _nearer(self, own: list[_Waiting], other: list[_Waiting]) -> Group:
        """Pair the oldest frame, or leave it alone if its follower fits clearly better.

        While the skew stays near its running mean, the mean decides: jitter averages out.
        """
        step_ns = self._step_ns(own)
        ours_ns: float = other[0].corrected_ns - own[0].corrected_ns
        skew_ns = ours_ns if other[0].frame.role == "side" else -ours_ns
        period_ns = self._period_ns[own[0].frame.role]
        if self._skew_ns is not None and period_ns > 0:
            # A lost frame shifts the skew by whole periods; the mean holds there as well.
            shift = round((skew_ns - self._skew_ns) / period_ns)
            mean_ns = self._skew_ns + shift * period_ns
            if abs(skew_ns - mean_ns) < period_ns / 3:
                ours_ns = abs(mean_ns)
        theirs_ns = abs(step_ns - ours_ns)
        better = theirs_ns + step_ns / 10 < ours_ns
        return self._alone(own) if better else self._pair(own, other)

    def _step_ns(self, own: list[_Waiting]) -> float:
        """Return the time to our own next frame, in whole mean periods when it fits."""
        role = own[0].frame.role
        step_ns: float = own[1].corrected_ns - own[0].corrected_ns
        period_ns = self._period_ns.setdefault(role, step_ns)
        periods = max(1, round(step_ns / period_ns)) if period_ns > 0 else 1
        if abs(step_ns - periods * period_ns) > period_ns / 3:
            self._period_ns[role] = step_ns  # another rate, or the first step had a gap
            self._steps[role] = 1
            return step_ns
        self._steps[role] = min(self._steps.get(role, 0) + 1, 30)
        self._period_ns[role] += (step_ns / periods - period_ns) / self._steps[role]
        return periods * period_ns

    def _follow(self, skew_ns: int) -> None:
        """Keep the running mean of the skew; a jump (another partner) starts it anew."""
        jump_ns = min(self._period_ns.values(), default=self._rules.limit_ns) / 2
        if self._skew_ns is None or abs(skew_ns - self._skew_ns) > jump_ns:
            self._skew_ns, self._followed = float(skew_ns), 1
        self._followed = min(self._followed + 1, 30)
        self._skew_ns += (skew_ns - self._skew_ns) / self._followed

    def _alone(self, own: list[_Waiting]) -> Group:
        frame = own.pop(0).frame
        return Group({frame.role: frame})

    def _pair(self, own: list[_Waiting], other: list[_Waiting]) -> Group:
        both = {w.frame.role: w for w in (own.pop(0), other.pop(0))}
        skew = both["side"].corrected_ns - both["privacy"].corrected_ns
        self._follow(skew)
        return Group(
            frames={role: both[role].frame for role in ("privacy", "side")},
            skew_ns=skew,
            uncertainty_ns=self._sigma_ns(both["side"].frame, both["privacy"].frame),
            over_tolerance=abs(skew) > self._rules.tolerance_ns,
        )

    def _sigma_ns(self, one: PackedFrame, two: PackedFrame) -> int:
        side = one if one.role == "side" else two
        return self.model.uncertainty_ns(side.captured_ns, one.uncertainty_ns, two.uncertainty_ns)
