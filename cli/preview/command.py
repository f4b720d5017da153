"""``rig preview``: show people live, with faces that are not theirs."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from cli._common import ConfigOption, console

if TYPE_CHECKING:
    from cli.preview.run import ServerOptions
    from cli.preview.session import Session
    from models.runtime.live_data import LiveSettings

__all__ = ["preview"]

_PAGE, _PICTURE, _TAKES, _OTHER = "The page", "The picture", "Takes", "Other outputs"


def preview(
    config: ConfigOption = "simulated",
    bundle: Annotated[
        Path | None,
        typer.Option(help="Bundle to run; the one that ships when left out.",
                     rich_help_panel=_PICTURE),
    ] = None,
    size: Annotated[
        int, typer.Option(help="Height of the picture, px.", min=64, max=2160,
                          rich_help_panel=_PICTURE),
    ] = 512,
    room: Annotated[
        bool, typer.Option("--room", help="The face where it stands, on a plain card.",
                           rich_help_panel=_PICTURE),
    ] = False,
    engine: Annotated[
        str, typer.Option(help="auto takes the fastest; or torch, onnx, openvino.",
                          rich_help_panel=_PICTURE),
    ] = "auto",
    reference: Annotated[
        str | None, typer.Option(help="Public face whose style is painted.",
                                 rich_help_panel=_PICTURE),
    ] = None,
    bind: Annotated[
        str, typer.Option(help="Address to listen on.", rich_help_panel=_PAGE)
    ] = "127.0.0.1",
    port: Annotated[
        int, typer.Option(help="TCP port; 0 takes a free one.", rich_help_panel=_PAGE)
    ] = 8765,
    token: Annotated[
        Path | None,
        typer.Option(help="Token file (`rig serve token FILE`); a new token each time when left "
                     "out.", rich_help_panel=_PAGE),
    ] = None,
    name: Annotated[
        list[str] | None,
        typer.Option(help="Further name under which browsers ask for it.", rich_help_panel=_PAGE),
    ] = None,
    certificate: Annotated[
        Path | None, typer.Option(help="TLS certificate chain, PEM.", rich_help_panel=_PAGE)
    ] = None,
    key: Annotated[
        Path | None, typer.Option(help="TLS private key, PEM.", rich_help_panel=_PAGE)
    ] = None,
    in_the_clear: Annotated[
        bool,
        typer.Option("--in-the-clear", help="Serve a network without TLS all the same.",
                     rich_help_panel=_PAGE),
    ] = False,
    viewers: Annotated[
        int, typer.Option(help="Most viewers at a time.", min=1, max=64, rich_help_panel=_PAGE)
    ] = 8,
    open_page: Annotated[
        bool, typer.Option("--open/--no-open", help="Open the page in the browser.",
                           rich_help_panel=_PAGE),
    ] = True,
    subject: Annotated[
        str, typer.Option(help="Pseudonym of who may be recorded from the page.",
                          rich_help_panel=_TAKES),
    ] = "",
    simulated: Annotated[
        bool, typer.Option("--simulated", help="The subject is the digital twin's.",
                           rich_help_panel=_TAKES),
    ] = False,
    duration: Annotated[
        float, typer.Option(help="Longest take, s.", min=1.0, rich_help_panel=_TAKES)
    ] = 20.0,
    window: Annotated[
        bool, typer.Option("--window", help="A window instead of the page.",
                           rich_help_panel=_OTHER),
    ] = False,
    virtual_camera: Annotated[
        bool,
        typer.Option("--virtual-camera", help="A camera for other programs (pyvirtualcam).",
                     rich_help_panel=_OTHER),
    ] = False,
    record: Annotated[
        Path | None,
        typer.Option(help="Record the de-identified picture, and nothing else, as a video.",
                     rich_help_panel=_OTHER),
    ] = None,
    look: Annotated[
        Path | None,
        typer.Option(help="Write one picture of what viewers would see, and end.",
                     rich_help_panel=_OTHER),
    ] = None,
    show_side: Annotated[
        bool,
        typer.Option("--show-side", help="Look at calibration targets with both cameras.",
                     rich_help_panel=_OTHER),
    ] = False,
    no_person: Annotated[
        bool,
        typer.Option("--no-person", help="I have looked: nobody is before the rig.",
                     rich_help_panel=_OTHER),
    ] = False,
) -> None:  # fmt: skip
    """Show the de-identified picture live; a card says why whenever there is none.

    Example: rig preview --config simulated
    """
    from camera_rig.config import load_config
    from camera_rig.server import stopped_by_any_signal

    server = _server_options(
        bind=bind, port=port, names=tuple(name or ()), certificate=certificate, key=key,
        in_the_clear=in_the_clear, viewers=viewers,
    )  # fmt: skip
    loaded = load_config(config)
    if show_side:
        from cli.preview.session import target_session

        with stopped_by_any_signal(), target_session(
            loaded, subject, no_person=no_person
        ) as targets:  # fmt: skip
            _serve(targets, server, token, open_page=open_page)
        return
    from cli.preview.outputs import show_window, side_outputs
    from cli.preview.session import PreviewRequest, live_session

    request = PreviewRequest(
        config=loaded,
        bundle=bundle or _shipped_bundle(),
        settings=_settings(height_px=size, view="room" if room else "face", engine=engine,
                           reference=reference),
        subject=subject,
        simulated=simulated,
        duration_s=duration,
    )  # fmt: skip
    with (
        stopped_by_any_signal(),
        live_session(request) as session,
        side_outputs(session.live, virtual_camera=virtual_camera, record=record),
    ):
        if look is not None:
            from cli.preview.look import look as looked

            told = looked(session.live, look, simulated=loaded.devices["privacy"].driver == "twin")
            console().print(f"{look}: {', '.join(told['references'])}; engine {told['engine']}")
        elif window:
            show_window(session.live)
        else:
            _serve(session, server, token, open_page=open_page)


def _serve(
    session: Session, options: ServerOptions, token_file: Path | None, *, open_page: bool
) -> None:
    """Serve the page until Ctrl-C."""
    import secrets
    import webbrowser

    from camera_rig.server import listen
    from camera_rig.tokens import read_token
    from cli.preview.app import create_app
    from cli.preview.hub import Hub
    from cli.preview.run import PreviewServer

    token = secrets.token_urlsafe(32) if token_file is None else read_token(token_file)
    hub = Hub(session.rig.clock, options.viewers)
    with listen(options.bind, options.port) as listener:
        server = PreviewServer(listener, options, token)
        app = create_app(server.door(hub), hub, session.source, session.desks)

        def started() -> None:
            out = console()
            out.print("preview at  ", end="")
            out.print(server.link, soft_wrap=True, markup=False)
            out.print("[dim]whoever has this link sees the picture; Ctrl-C ends it[/]")
            if not options.is_local and options.certificate is None:
                out.print("[yellow]note:[/] token and pictures cross the network in the clear")
            if open_page and options.is_local:
                webbrowser.open(server.link)

        remove = session.source.on_news(hub.post)
        try:
            server.run(app, hub, started)
        finally:
            remove()


def _shipped_bundle() -> Path:
    import models
    from camera_rig.errors import ConfigError

    folder = Path(models.__file__).parent / "default_bundle"
    if not folder.is_dir():
        raise ConfigError(
            "no bundle was given, and none is installed",
            hint="give one with --bundle; `rig train` makes one",
        )
    return folder


def _settings(**given: Any) -> LiveSettings:
    from models.runtime.live_data import LiveSettings

    return LiveSettings(**given)


def _server_options(**given: Any) -> ServerOptions:
    from pydantic import ValidationError

    from camera_rig.errors import ConfigError
    from cli.preview.run import ServerOptions

    try:
        return ServerOptions(**given)
    except ValidationError as error:
        told = "; ".join(each["msg"].removeprefix("Value error, ") for each in error.errors())
        raise ConfigError(told, hint="see `rig preview --help`") from error
