"""Withdrawal and retention: what must go, shown first, then done."""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass

from camera_rig.errors import PrivacyError
from camera_rig.recording.catalog import TakeRow
from camera_rig.recording.store import DataStore

__all__ = ["Removal", "plan_purge", "plan_withdrawal", "remove"]


@dataclass(frozen=True, slots=True)
class Removal:
    """What a withdrawal or a purge will do.

    Args:
        why: Reason for the audit log.
        takes: Takes whose files go.
        subjects: Subjects whose key is destroyed: all copies anywhere become unreadable.
        withdrawn: Of these, who is closed for good.
        exports: Exports that hold frames in the clear and must be deleted by hand.
    """

    why: str
    takes: tuple[TakeRow, ...]
    subjects: tuple[str, ...]
    withdrawn: tuple[str, ...] = ()
    exports: tuple[str, ...] = ()

    @property
    def is_empty(self) -> bool:
        """Whether there is nothing to do."""
        return not (self.takes or self.subjects or self.withdrawn)


def plan_withdrawal(store: DataStore, subject: str) -> Removal:
    """Return what the withdrawal of ``subject`` will do.

    Raises:
        PrivacyError: Nothing is known of this subject.
    """
    takes = tuple(store.catalog.rows(subject=subject))
    has_key = subject in store.keys.subjects()
    if not takes and not has_key and subject not in store.consents.subjects():
        raise PrivacyError(
            f"nothing is known of subject {subject}", hint="see `rig data consent list`"
        )
    return Removal(
        why=f"withdrawal of {subject}",
        takes=takes,
        subjects=(subject,) if has_key else (),
        withdrawn=(subject,),
        exports=_exports(store, {subject}),
    )


def plan_purge(store: DataStore) -> Removal:
    """Return what has outlived its retention date today."""
    today = store.consents.today()
    rows = store.catalog.rows()
    old = tuple(row for row in rows if _is_over(row, today))
    done = {row.subject for row in old} - {row.subject for row in rows if row not in old}
    over = {name for name in done if not _has_consent(store, name)}
    keys = tuple(sorted(over & set(store.keys.subjects())))
    return Removal(f"retention ended by {today}", old, keys, exports=_exports(store, done))


def remove(store: DataStore, plan: Removal) -> None:
    """Do what ``plan`` says. Keys go first: from then on no copy can be read."""
    for subject in plan.withdrawn:
        store.consents.withdraw(subject, store.audit.operator)
        store.audit.append("consent-withdrawn", subject=subject)
    for subject in plan.subjects:
        # Noted before and after: the log must not miss a destruction that was cut short.
        store.audit.append("subject-key-destroying", subject=subject, why=plan.why)
        fingerprint = store.keys.destroy_subject(subject)
        store.audit.append("subject-key-destroyed", subject=subject, key=fingerprint)
    for row in plan.takes:
        if (store.takes / row.take).is_dir():
            store.delete(store.take(row.take), plan.why)
        else:
            store.catalog.remove(row.take)


def _is_over(row: TakeRow, today: dt.date) -> bool:
    return bool(row.retention_until) and dt.date.fromisoformat(row.retention_until) < today


def _has_consent(store: DataStore, subject: str) -> bool:
    try:
        store.consents.active(subject)
    except PrivacyError:
        return False
    return True


def _exports(store: DataStore, subjects: set[str]) -> tuple[str, ...]:
    found = [
        str(entry.facts["out"])
        for entry in store.audit.verify()
        if entry.event == "exported" and subjects & set(entry.facts["subjects"])
    ]
    return tuple(dict.fromkeys(found))
