"""``rig attack``: what attackers get back of people behind a bundle's camera."""

from __future__ import annotations

from contextlib import ExitStack
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from cli._attack_faces import FaceOpener
from cli._common import ConfigOption, JsonOption, emit
from cli._data_common import LabKeyOption
from cli._references import OWN_REFERENCES, REFERENCES_HELP, styles_of

if TYPE_CHECKING:
    from models.evaluation.attacks.ground import AttackSettings, Ground


class Equal(StrEnum):
    """By what plain blurs are made as strong as the bundle's camera."""

    PSNR = "psnr"
    LANDMARKS = "landmarks"


def attack(
    bundle: Annotated[Path, typer.Argument(help="Bundle or run: its camera, and its painter.")],
    people: Annotated[
        str, typer.Argument(metavar="SET", help="Prepared set, image folder, or heads:N.")
    ],
    out: Annotated[Path, typer.Option("--out", "-o", help="Run folder; an old run goes on.")],
    attacks: Annotated[
        list[str] | None, typer.Option("--attack", help="Attack by name; repeat. Default: all.")
    ] = None,
    cameras: Annotated[
        list[str] | None, typer.Option("--camera", help="Camera by name; repeat. Default: all.")
    ] = None,
    learn: Annotated[
        str, typer.Option(help="Faces that attackers learn from: a folder, or heads:N.")
    ] = "heads:200",
    equal: Annotated[
        Equal,
        typer.Option(help="What plain blurs share with the bundle's camera: PSNR, or landmarks."),
    ] = Equal.PSNR,
    size: Annotated[int, typer.Option(help="Pixels across at which attackers work.")] = 128,
    settings: Annotated[
        list[str] | None, typer.Option("--set", help="Any setting, as restore.steps=2000; repeat.")
    ] = None,
    references: Annotated[str, typer.Option(help=REFERENCES_HELP)] = OWN_REFERENCES,
    config: ConfigOption = "simulated",
    lab_key: LabKeyOption = None,
    as_json: JsonOption = False,
) -> None:
    """Attack a bundle's camera and its outputs, beside plainer cameras; write a report.

    Example: rig attack bundles/default heads:40 --attack wiener --attack tuned --out runs/attacks
    """
    from cli._common import progress
    from models.evaluation.attacks.catalogue import chosen
    from models.evaluation.attacks.equal import equally_useful
    from models.evaluation.attacks.report import JSON, PAGE, write_report
    from models.evaluation.attacks.run import run

    wanted = chosen(attacks or [])
    plan = attack_settings(size, settings or [])
    with ExitStack() as stack, progress() as shown:
        task = shown.add_task("getting ready", total=None, rate="")

        def tell(step: str, done: int, total: int) -> None:
            shown.update(task, description=step, completed=done, total=total)

        opener = FaceOpener(stack, config, lab_key, 0, tell)
        ground = _ground(bundle, (people, learn, references), plan, opener)
        if equal is Equal.LANDMARKS:
            ground = equally_useful(ground, out / "readers", lambda n, of, what: tell(what, n, of))
        run(
            ground,
            wanted,
            out,
            cameras=cameras or (),
            progress=lambda done, total, what: tell(what, done, total),
        )
    verdict = write_report(out)
    data = {"verdict": verdict, "folder": str(out), "page": str(out / PAGE)}
    if as_json:
        import json

        data = json.loads((out / JSON).read_text(encoding="utf-8"))
    emit(data, as_json, lambda: typer.echo(f"{verdict}\n{out / PAGE}"))


def attack_settings(size_px: int, pairs: list[str]) -> AttackSettings:
    """Return the settings of a run from options.

    Args:
        size_px: Height and width at which attackers work.
        pairs: ``name=value`` each; a dot goes into a part.

    Raises:
        ConfigError: A setting does not exist or has no such value.
    """
    from dataclasses import asdict

    import yaml
    from pydantic import ValidationError

    from camera_rig.errors import ConfigError
    from models.evaluation.attacks.ground import AttackSettings

    tree: dict[str, Any] = {
        name: asdict(value) if hasattr(value, "__dataclass_fields__") else value
        for name, value in AttackSettings()
    }
    tree["size_px"] = size_px
    for pair in pairs:
        path, found, value = pair.partition("=")
        place = tree
        *above, last = path.split(".")
        for key in above:
            place = place.get(key, {})
        if not found or last not in place:
            raise ConfigError(
                f"--set {pair!r} names no setting",
                hint=f"write name=value; there are {', '.join(tree)}",
            )
        place[last] = yaml.safe_load(value)
    try:
        return AttackSettings.model_validate(tree)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        raise ConfigError(f"setting {where}: {first['msg']}", hint="see docs/attacks.md") from error


def _ground(
    bundle: Path, faces: tuple[str, str, str], plan: AttackSettings, opener: FaceOpener
) -> Ground:
    from models.evaluation.attacks.from_bundle import at_hand, ground_for
    from models.runtime.bundle import CARD, DEFAULT, open_bundle
    from models.training.sources import open_trained

    people, learn, references = faces
    whole = str(bundle) == DEFAULT or (bundle / CARD).exists()
    what = open_bundle(bundle) if whole else open_trained(bundle)
    opener.size_px = (what.trained if whole else what).sizes.size_px
    for named in (people, learn, *({references} - {OWN_REFERENCES})):
        opener.check(named)
    recognisers, absent = at_hand()
    for name, why in absent.items():
        typer.echo(f"without {name}: {why}", err=True)
    sought, extra = opener.sought(people), opener.recorded(people)
    learned = (opener.learned(learn, plan.per_person), *(() if extra is None else (extra,)))
    styles = styles_of(references, what, opener.progress) if whole else None
    return ground_for(what, sought, learned, plan, recognisers, styles=styles)
