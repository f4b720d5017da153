"""``rig data``: consent, keys, withdrawal, retention, audit, and sets for training."""

from __future__ import annotations

import datetime as dt
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from cli import _data_sets
from cli._common import ConfigOption, JsonOption, emit, make_app
from cli._data_common import (
    LabKeyOption,
    YesOption,
    confirmed,
    new_passphrase,
    open_store,
    table,
    unlock,
)

if TYPE_CHECKING:
    from camera_rig.recording.retention import Removal

app = make_app("Consent, keys, retention and audit; prepared sets and exports.")
consent_app = make_app("File consents and look at them.")
keys_app = make_app("The lab's key pair and the subjects' keys.")
app.add_typer(consent_app, name="consent")
app.add_typer(keys_app, name="keys")
app.command("prepare")(_data_sets.prepare)
app.command("export")(_data_sets.export)
app.command("sheet")(_data_sets.sheet)

SubjectArgument = Annotated[str, typer.Argument(help="Pseudonym of the subject.")]
DryRunOption = Annotated[bool, typer.Option("--dry-run", help="Only say what would be done.")]


@consent_app.command("add")
def consent_add(
    subject: SubjectArgument,
    form: Annotated[Path, typer.Option(help="The form's file, as it was signed.")],
    form_id: Annotated[str, typer.Option(help="Which form.")],
    form_version: Annotated[str, typer.Option(help="Its version.")],
    until: Annotated[dt.datetime, typer.Option(formats=["%Y-%m-%d"], help="Keep until (date).")],
    scope: Annotated[list[str], typer.Option(help="train, evaluate, share or publish; repeat.")],
    site: Annotated[str, typer.Option(help="Where it was signed.")] = "",
    purpose: Annotated[str, typer.Option(help="Why the frames are collected.")] = "",
    config: ConfigOption = "simulated",
    as_json: JsonOption = False,
) -> None:
    """File a signed consent.

    Example: rig data consent add S01 --form form.pdf --form-id F1 --form-version 2
    --until 2028-12-31 --scope train --scope evaluate
    """
    from pydantic import ValidationError

    from camera_rig.errors import ConfigError
    from camera_rig.recording.consent import ConsentRecord, form_digest

    store = open_store(config)
    try:
        record = ConsentRecord.model_validate(
            {
                "id": store.consents.new_id(),
                "pseudonym": subject,
                "form_id": form_id,
                "form_version": form_version,
                "form_sha256": form_digest(form),
                "scopes": scope,
                "retention_until": until.date(),
                "operator": store.audit.operator,
                "site": site,
                "purpose": purpose,
                "given_wall_ns": store.clock.wall_ns(),
            }
        )
    except ValidationError as error:
        raise ConfigError(
            f"the consent is not complete: {error}", hint="scopes: train, evaluate, share, publish"
        ) from error
    path = store.consents.add(record)
    store.audit.append("consent-added", subject=subject, record=record.id, scopes=list(scope))
    emit(record, as_json, lambda: typer.echo(f"filed {path}"))


@consent_app.command("list")
def consent_list(config: ConfigOption = "simulated", as_json: JsonOption = False) -> None:
    """List all subjects and what they agreed to.

    Example: rig data consent list
    """
    consents = open_store(config).consents
    data: list[dict[str, Any]] = [
        {
            "subject": name,
            "withdrawn": consents.is_withdrawn(name),
            "records": [record.model_dump(mode="json") for record in consents.records(name)],
        }
        for name in consents.subjects()
    ]

    def render() -> None:
        rows = [
            [
                one["subject"],
                "withdrawn" if one["withdrawn"] else f"until {record['retention_until']}",
                ", ".join(record["scopes"]),
                f"{record['form_id']} v{record['form_version']}",
                record["operator"],
            ]
            for one in data
            for record in one["records"]
        ]
        table(["subject", "state", "scopes", "form", "operator"], rows)

    emit(data, as_json, render)


@keys_app.command("init")
def keys_init(
    config: ConfigOption = "simulated",
    no_passphrase: Annotated[
        bool, typer.Option("--no-passphrase", help="Protect the key by its file mode alone.")
    ] = False,
    adopt: Annotated[
        Path | None, typer.Option(help="Write-only host: take the public key of this file.")
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Make the lab's key pair, or give a recording host the public half only.

    Example: rig data keys init
    """
    store = open_store(config)
    if adopt is not None:
        made = store.keys.adopt_public_file(adopt)
        note = "this host can write and not read"
    else:
        made = store.keys.init(None if no_passphrase else new_passphrase()).id
        note = f"keep {store.keys.private_path} and its passphrase safe: there is no recovery"
    store.audit.append("lab-key-made", key=made, adopted=adopt is not None)
    emit({"lab": made, "folder": store.keys.root}, as_json, lambda: typer.echo(f"{made}: {note}"))


@keys_app.command("show")
def keys_show(config: ConfigOption = "simulated", as_json: JsonOption = False) -> None:
    """Show fingerprints; never a key.

    Example: rig data keys show
    """
    from camera_rig.recording.key_pairs import key_id

    keys = open_store(config).keys
    data = {
        "lab": key_id(keys.lab_public),
        "readable_here": keys.private_path.exists(),
        "subjects": {
            name: {"key": keys.subject(name).id, "lab": keys.subject(name).lab}
            for name in keys.subjects()
        },
    }

    def render() -> None:
        place = "here" if data["readable_here"] else "elsewhere: this host only writes"
        typer.echo(f"lab {data['lab']}; private key {place}")
        for name in keys.subjects():
            typer.echo(f"  {name:<16} {keys.subject(name).id} for lab {keys.subject(name).lab}")

    emit(data, as_json, render)


@keys_app.command("rotate")
def keys_rotate(
    config: ConfigOption = "simulated",
    lab_key: LabKeyOption = None,
    no_passphrase: Annotated[
        bool, typer.Option("--no-passphrase", help="Protect the new key by its file mode alone.")
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """Make a new lab key and seal every subject for it; no take is rewritten.

    Example: rig data keys rotate
    """
    import os

    store = open_store(config)
    how = unlock(store, lab_key)
    old = store.keys.lab_private(how.passphrase, how.key_file)
    phrase = None if no_passphrase else os.environ.get("RIG_NEW_PASSPHRASE") or new_passphrase()
    new = store.keys.rotate_lab(old, phrase)
    store.audit.append("lab-key-rotated", old=old.id, new=new.id)
    emit({"old": old.id, "new": new.id}, as_json, lambda: typer.echo(f"{old.id} → {new.id}"))


@app.command()
def withdraw(
    subject: SubjectArgument,
    config: ConfigOption = "simulated",
    dry_run: DryRunOption = False,
    yes: YesOption = False,
    as_json: JsonOption = False,
) -> None:
    """Take a subject out: destroy the key, delete the takes, close the pseudonym.

    Example: rig data withdraw S01 --dry-run
    """
    from camera_rig.recording.retention import plan_withdrawal, remove

    store = open_store(config)
    plan = plan_withdrawal(store, subject)
    emit(plan, as_json, lambda: _print_removal(plan))
    if not dry_run and confirmed(f"Destroy the key of {subject} for good?", yes):
        remove(store, plan)
        typer.echo(f"{subject} is withdrawn", err=True)


@app.command()
def purge(
    config: ConfigOption = "simulated",
    yes: Annotated[
        bool, typer.Option("--yes", "-y", help="Do it; without this it is a dry run.")
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """Remove what has outlived its retention date. A dry run unless --yes is given.

    Example: rig data purge
    """
    from camera_rig.recording.retention import plan_purge, remove

    store = open_store(config)
    plan = plan_purge(store)
    emit(plan, as_json, lambda: _print_removal(plan))
    if yes and not plan.is_empty:
        remove(store, plan)
        typer.echo("done", err=True)


@app.command()
def audit(
    config: ConfigOption = "simulated",
    head: Annotated[
        str | None, typer.Option(help="Head noted earlier: it must still be in the log.")
    ] = None,
    limit: Annotated[int, typer.Option(help="Newest so many lines.")] = 20,
    as_json: JsonOption = False,
) -> None:
    """Check the audit log's chain and show who opened what.

    Example: rig data audit
    """
    entries = open_store(config).audit.verify(head)

    def render() -> None:
        rows = [
            [
                dt.datetime.fromtimestamp(entry.wall_ns / 1e9, dt.UTC).strftime("%F %T"),
                entry.operator,
                entry.event,
                ", ".join(f"{k}={v}" for k, v in entry.facts.items()),
            ]
            for entry in entries[-limit:]
        ]
        table(["time (UTC)", "operator", "event", "what"], rows)
        if entries:
            typer.echo(f"{len(entries)} lines, chain unbroken; head {entries[-1].digest}")

    emit(entries[-limit:], as_json, render)


@app.command()
def reindex(config: ConfigOption = "simulated", as_json: JsonOption = False) -> None:
    """Build the catalogue again from the takes' files.

    Example: rig data reindex
    """
    store = open_store(config)
    count, problems = store.catalog.rebuild(store.takes)

    def render() -> None:
        typer.echo(f"{count} takes")
        for problem in problems:
            typer.secho(f"left out {problem}", fg="yellow", err=True)

    emit({"takes": count, "left_out": problems}, as_json, render)


def _print_removal(plan: Removal) -> None:
    if plan.is_empty:
        typer.echo("nothing to remove")
        return
    typer.echo(plan.why)
    for row in plan.takes:
        typer.echo(f"  delete take {row.take} ({row.pairs} pairs)")
    for name in plan.subjects:
        typer.echo(f"  destroy the key of {name}: takes, sets and copies become unreadable")
    for path in plan.exports:
        typer.secho(f"  delete by hand: export {path} holds frames in the clear", fg="yellow")
