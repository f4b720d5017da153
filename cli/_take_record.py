"""The work of ``rig take record``: plan, ask, count down, record, keep or redo."""

from __future__ import annotations

import time
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from cli._common import console, emit
from cli._data_common import read_settings

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from camera_rig.private_shape import PrivateShape
    from camera_rig.recording.consent import RecordingPermit
    from camera_rig.recording.plan import DiskEstimate, TakePlan
    from camera_rig.recording.recorder import Recorder, RecorderStatus, TakeContext, TakeReport
    from camera_rig.recording.series import Series
    from camera_rig.recording.store import DataStore
    from camera_rig.rig import Rig


@dataclass(frozen=True)
class Request:
    """What the user asked for."""

    config: str
    subject: str
    duration_s: float
    repeat: int
    prompts: Path | None
    series: str
    simulated: bool
    countdown_s: float
    plan_file: Path | None
    sync_file: Path | None
    dry_run: bool
    interactive: bool
    as_json: bool
    virtual_time: bool = False


def run(request: Request) -> None:
    """Carry the request out; exits with a code of its own when frames were dropped."""
    from camera_rig.clock import ManualClock
    from camera_rig.config import load_config
    from camera_rig.errors import ConfigError, PrivacyError
    from camera_rig.recording.clockmodel import ClockModel
    from camera_rig.recording.consent import permit_recording
    from camera_rig.recording.recorder import Recorder
    from camera_rig.recording.store import DataStore
    from camera_rig.rig import Rig
    from camera_rig.runlog import run_log

    config = load_config(request.config)
    store = DataStore.of(config.storage)
    plan = _plan(request, config.storage.fsync_s, config.storage.min_free_gb)
    simulated = request.simulated and config.simulated
    if request.simulated and not config.simulated:
        raise PrivacyError(
            f"rig {config.name!r} has real devices", hint="leave --simulated away, file a consent"
        )
    # Before any camera runs: no consent, no side camera.
    permit = permit_recording(request.subject, store.keys, store.consents, simulated=simulated)
    series = _series(request)
    model = ClockModel.load(request.sync_file) if request.sync_file else None
    clock = None
    if request.virtual_time:
        if not config.simulated:
            raise ConfigError("real cameras keep real time", hint="leave --virtual-time away")
        clock = ManualClock(wall_start_ns=time.time_ns())
    with (
        run_log(config.storage.root / "logs", config.name),
        Rig.open(config, clock=clock) as rig,
        _hidden(rig, simulated) as shape,
    ):
        cameras = {"privacy": rig.privacy, "side": rig.side}
        light = rig.light if plan.trigger == "light" else None
        guard = partial(shape.why_not, rig.mirror) if shape else None
        with Recorder(
            cameras, rig.clock, plan, clock_model=model, light=light, guard=guard
        ) as recorder:
            recorder.warm_up()
            recorder.check_clock_model()
            needs = _estimate(recorder, plan, store, len(series.missing(store.catalog)))
            if request.dry_run:
                _print_plan(request, series, store, permit, plan, needs)
                return
            _refuse_unless_it_fits(needs, plan)
            job = _Job(request, rig, recorder, store, permit, series, shape)
            reports = job.record_all()
    _finish(request, reports)


@contextmanager
def _hidden(rig: Rig, simulated: bool) -> Iterator[PrivateShape | None]:
    """Put the shape that hides faces on the mirror; only the twin may do without one."""
    from camera_rig.config import MirrorConfig
    from camera_rig.private_shape import private_shape

    entry = rig.config.devices.get("mirror")
    if simulated and not (isinstance(entry, MirrorConfig) and entry.shape):
        yield None
        return
    with private_shape(rig) as shape:
        yield shape


class _Job:
    """One run of a series."""

    def __init__(
        self,
        request: Request,
        rig: Rig,
        recorder: Recorder,
        store: DataStore,
        permit: RecordingPermit,
        series: Series,
        shape: PrivateShape | None,
    ) -> None:
        self.shape = shape
        self.request, self.rig, self.recorder = request, rig, recorder
        self.store, self.permit, self.series = store, permit, series

    def record_all(self) -> list[TakeReport]:
        """Record what is missing of the series; the user may redo or stop after each."""
        from camera_rig.recording.manifest import FinishReason

        reports: list[TakeReport] = []
        todo = self.series.missing(self.store.catalog)
        if len(todo) < self.series.total:
            typer.echo(f"series {self.series.name}: going on with take {todo[:1]}", err=True)
        while todo:
            report = self._one(todo[0])
            answer = self._ask(report)
            if answer == "redo":
                self.store.delete(self.store.take(str(report.folder)), "redone by the operator")
                continue
            reports.append(report)
            todo.pop(0)
            stopped = report.seal is not None and report.seal.reason is FinishReason.STOPPED
            if answer == "stop" or stopped or not report.is_clean:
                break
        return reports

    def _one(self, number: int) -> TakeReport:
        from camera_rig.recording.reading import Take

        prompt = self.series.prompt(number)
        title = f"{self.request.subject}  take {number} of {self.series.total}"
        with _screen(self.request, title, prompt) as show:
            _count_down(self.recorder, self.request.countdown_s, show)
            report = self.recorder.record(
                self.permit,
                self.store.takes,
                self._context(number, prompt),
                on_status=lambda status: show(status, None),
            )
        if report.seal is not None:
            take = Take(report.folder)
            self.store.catalog.put(take)
            if self.permit.simulated and self.rig.twin is not None and take.groups:
                from camera_rig.recording.truth import write_truth

                write_truth(take, self.rig.twin.truth, {"privacy": 1, "side": 1})
        if not self.request.as_json:
            _print_report(report, title)
        return report

    def _context(self, number: int, prompt: str) -> TakeContext:
        from camera_rig.recording.recorder import TakeContext

        mirror: dict[str, Any] = {}
        if self.rig.has("mirror"):
            device = self.rig.mirror
            mirror = {
                "serial": device.info.serial,
                "model": device.info.model,
                "command_v": [round(float(v), 4) for v in device.read_back()],
                "shape": self.shape.to_dict() if self.shape else None,
            }
        model = self.recorder.clock_model
        return TakeContext(
            calibrations={"sync": model.calibration} if model.calibration else {},
            config=self.rig.config.model_dump(mode="json", by_alias=True),
            mirror=mirror,
            series=(self.series.name, number),
            prompt=prompt,
        )

    def _ask(self, report: TakeReport) -> str:
        if not self.request.interactive or report.seal is None:
            return "keep"
        answer = typer.prompt("Enter to keep, r to redo, q to stop", default="", show_default=False)
        return {"r": "redo", "q": "stop"}.get(answer.strip().lower()[:1], "keep")


def _plan(request: Request, fsync_s: float, min_free_gb: float) -> TakePlan:
    from pydantic import ValidationError

    from camera_rig.errors import ConfigError
    from camera_rig.recording.plan import TakePlan

    settings: dict[str, Any] = {"fsync_s": fsync_s, "min_free_gb": min_free_gb}
    if request.plan_file is not None:
        settings |= read_settings(request.plan_file)
    try:
        return TakePlan.model_validate({**settings, "duration_s": request.duration_s})
    except ValidationError as error:
        raise ConfigError(
            f"the plan is wrong: {error}", hint="see the settings in docs/recording.md"
        ) from error


def _series(request: Request) -> Series:
    from camera_rig.recording.series import Series, read_prompts

    named = request.series or f"{request.subject}-{request.repeat}x{request.duration_s:g}s"
    fresh = request.repeat == 1 and not request.series
    prompts = tuple(read_prompts(request.prompts)) if request.prompts or not fresh else ()
    if fresh:
        import secrets

        named = f"{request.subject}-{secrets.token_hex(3)}"  # single takes are never "done"
    return Series(named, request.repeat, prompts)


def _estimate(recorder: Recorder, plan: TakePlan, store: DataStore, takes: int) -> DiskEstimate:
    from camera_rig.recording.plan import estimate, measure_disk_rate

    rates = {role: rate.fps * rate.frame_bytes for role, rate in recorder.rates.items()}
    whole = plan.model_copy(update={"duration_s": plan.duration_s * max(1, takes)})
    return estimate(whole, rates, store.takes, measure_disk_rate(store.takes))


def _refuse_unless_it_fits(needs: DiskEstimate, plan: TakePlan) -> None:
    from camera_rig.errors import StorageError

    why = needs.why_not(plan)
    if why:
        raise StorageError(
            "this cannot be recorded: " + "; ".join(why),
            hint="free space, shorten the takes, or lower the rate of the cameras",
        )


def _print_plan(
    request: Request,
    series: Series,
    store: DataStore,
    permit: RecordingPermit,
    plan: TakePlan,
    needs: DiskEstimate,
) -> None:
    from camera_rig.recording.memory import swap_warnings

    data: dict[str, Any] = {
        "series": series.name,
        "to_record": series.missing(store.catalog),
        "prompts": [series.prompt(n) for n in range(1, series.total + 1)],
        "plan": plan.model_dump(mode="json"),
        "bytes_per_s": {role: round(rate) for role, rate in needs.bytes_per_s.items()},
        "total_bytes": needs.total_bytes,
        "free_bytes": needs.free_bytes,
        "disk_bytes_per_s": round(needs.disk_bytes_per_s),
        "why_not": needs.why_not(plan),
        "keys": {
            "lab": permit.subject.lab,
            "subject": permit.subject.id,
            "readable_here": store.keys.private_path.exists(),
        },
        "consent": permit.consent.model_dump(mode="json") if permit.consent else None,
        "simulated": permit.simulated,
        "warnings": swap_warnings(),
    }

    def render() -> None:
        typer.echo(f"series    {series.name}: takes {data['to_record']} of {series.total}")
        typer.echo(f"length    {plan.duration_s:g} s each; tolerance {plan.tolerance_ms:g} ms")
        for role, rate in needs.bytes_per_s.items():
            typer.echo(f"{role:<9} {rate / 1e6:.1f} MB/s")
        typer.echo(
            f"disk      {needs.total_bytes / 1e9:.2f} GB needed, {needs.free_bytes / 1e9:.1f} GB "
            f"free, takes {needs.disk_bytes_per_s / 1e6:.0f} MB/s"
        )
        typer.echo(f"overload  {plan.on_overload}; buffer {plan.buffer_mb:g} MB")
        typer.echo(f"keys      subject {permit.subject.id}, sealed for lab {permit.subject.lab}")
        typer.echo(f"consent   {permit.consent.record if permit.consent else 'none: simulated'}")
        for line in [*data["why_not"], *data["warnings"]]:
            typer.secho(f"warning   {line}", fg="yellow")
        typer.echo("nothing was recorded")

    emit(data, request.as_json, render)


@contextmanager
def _screen(
    request: Request, title: str, prompt: str
) -> Iterator[Callable[[RecorderStatus, float | None], None]]:
    """Give a function that shows a status: a live panel on a terminal, else nothing."""
    from cli._take_view import TakeView

    screen = console(stderr=True)
    view = TakeView(title, prompt, request.duration_s)
    if not screen.is_terminal or request.as_json:
        if prompt and not request.as_json:
            typer.echo(f"{title}: {prompt}", err=True)
        yield lambda status, countdown_s: None
        return
    from rich.live import Live

    with Live(console=screen, refresh_per_second=8, transient=True) as live:
        yield lambda status, countdown_s: live.update(view.panel(status, countdown_s))


def _count_down(
    recorder: Recorder,
    seconds: float,
    show: Callable[[RecorderStatus, float | None], None],
) -> None:
    recorder.wait(seconds, show)


def _print_report(report: TakeReport, title: str) -> None:
    if report.seal is None:
        typer.secho(f"{title}: not sealed ({report.error}); rig take recover", fg="red", err=True)
        return
    totals, run = report.seal.totals, report.seal.report
    typer.echo(
        f"{title}: {totals.pairs} pairs in {totals.duration_s:.1f} s, skew p50 "
        f"{run['skew_p50_ms']:.1f} p99 {run['skew_p99_ms']:.1f} ms, "
        f"{totals.over_tolerance} over tolerance, alone {sum(totals.unpaired.values())}, "
        f"lost {sum(totals.lost.values())}, dropped {sum(totals.dropped.values())}, "
        f"queue most {run['queue_high_frames']} frames, {report.seal.reason}"
    )
    typer.echo(f"  {report.folder}")


def _finish(request: Request, reports: list[TakeReport]) -> None:
    from camera_rig.errors import StorageError

    data = [{"folder": r.folder, "seal": r.seal, "clean": r.is_clean} for r in reports]
    emit(data, request.as_json, lambda: None)
    for report in reports:
        if report.error is not None:
            raise report.error
        if not report.is_clean:
            reason = report.seal.reason if report.seal else "not sealed"
            raise StorageError(
                f"{report.folder.name} is not complete: {reason}",
                hint="`rig take show` it; run the same command again to go on with the series",
            )
