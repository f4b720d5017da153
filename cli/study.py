"""``rig study``: ask people whether faces are protected, and count what they say."""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path
from typing import Annotated, Any

import typer

from cli._attack_faces import FaceOpener
from cli._common import ConfigOption, JsonOption, emit, make_app, progress
from cli._data_common import LabKeyOption, table
from cli._references import OWN_REFERENCES, REFERENCES_HELP, styles_of

app = make_app("A questionnaire for people: make the page, count the answers.")


@app.command()
def build(
    bundle: Annotated[Path, typer.Argument(help="Bundle whose frames and outputs are shown.")],
    people: Annotated[
        str, typer.Argument(metavar="SET", help="Prepared set, image folder, or heads:N.")
    ],
    out: Annotated[Path, typer.Option("--out", "-o", help="New folder for page and key.")],
    questions: Annotated[int, typer.Option(help="Faces for each of the four scenarios.")] = 5,
    choices: Annotated[int, typer.Option(help="Faces to choose among.")] = 5,
    other_moment: Annotated[
        bool, typer.Option(help="Show the right face at another moment than the source picture.")
    ] = False,
    alike: Annotated[
        bool, typer.Option(help="Other faces share sex, skin and age, where these are known.")
    ] = False,
    seed: Annotated[int, typer.Option(help="Decides faces and orders.")] = 0,
    contact: Annotated[str, typer.Option(help="Whom participants can ask; printed.")] = "",
    references: Annotated[str, typer.Option(help=REFERENCES_HELP)] = OWN_REFERENCES,
    config: ConfigOption = "simulated",
    lab_key: LabKeyOption = None,
    as_json: JsonOption = False,
) -> None:
    """Make the questionnaire as one page, and the key that holds the answers.

    Example: rig study build bundles/default heads:40 --out study --seed 7
    """
    from models.evaluation.study import StudyPlan, assemble, write_study
    from models.evaluation.systems import systems_for
    from models.runtime.bundle import open_bundle

    opened = open_bundle(bundle)
    size_px = opened.trained.sizes.size_px
    plan = StudyPlan(
        questions=questions,
        choices=choices,
        other_moment=other_moment,
        alike=alike,
        seed=seed,
        contact=contact,
    )
    with ExitStack() as stack, progress() as shown:
        task = shown.add_task("getting ready", total=None, rate="")

        def tell(step: str, done: int, total: int) -> None:
            shown.update(task, description=step, completed=done, total=total)

        opener = FaceOpener(stack, config, lab_key, size_px, tell)
        material = opener.sought(people)(size_px)
        systems = systems_for(
            opened,
            material.samples,
            styles_of(references, opened, tell),
            baselines=("optics", "low-resolution"),
            references=1,
        )
        study = assemble(material, systems, plan)
    page, key = write_study(study, out)
    data = {
        "study": study.key.study,
        "questions": len(study.questions),
        "page": str(page),
        "key": str(key),
    }

    def render() -> None:
        typer.echo(f"{page}: {len(study.questions)} questions, give it to participants")
        typer.echo(f"{key}: the answers, keep it")

    emit(data, as_json, render)


@app.command()
def score(
    folder: Annotated[Path, typer.Argument(help="Folder of `rig study build`.")],
    results: Annotated[list[Path], typer.Argument(help="Result files of participants.")],
    as_json: JsonOption = False,
) -> None:
    """Count answers: percentages with 95 % intervals, beside the published ones.

    Example: rig study score study results/*.json
    """
    from models.evaluation.study import StudyKey
    from models.evaluation.study_score import read_results
    from models.evaluation.study_score import score as counted

    key = StudyKey.load(folder)
    found = counted(read_results(results, key), key)

    def render() -> None:
        typer.echo(
            f"study {found.study}: {found.participants} participants, faces: {found.people}, "
            f"{found.passed_over} questions passed over"
        )
        rows: list[list[Any]] = [
            [
                share.scenario,
                share.about,
                share.answer,
                f"{share.percent:.1f}",
                f"{share.low:.1f}–{share.high:.1f}",
                share.given,
                "" if share.guessing is None else f"{share.guessing:.0f}",
                "" if share.published is None else f"{share.published:.2f}",
            ]
            for share in found.shares
        ]
        table(
            ["scenario", "about", "answer", "%", "95 %", "answers", "guessing %", "published %"],
            rows,
        )

    emit(found, as_json, render)
