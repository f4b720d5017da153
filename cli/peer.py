"""``rig peer``: emulated devices, to try the real drivers without hardware."""

from __future__ import annotations

from typing import Annotated

import typer

from cli._common import make_app

app = make_app(
    "Run an emulated device that speaks the real protocol.\n\n"
    "It prints its address, then takes commands on standard input (such as unplug, plug, "
    "stats) and ends with the input (Ctrl-D) or quit."
)


@app.command()
def m50(
    serial: Annotated[str, typer.Option(help="Serial number, twelve digits.")] = "663000000001",
    port: Annotated[int, typer.Option(help="TCP port on this machine; 0 takes a free one.")] = 0,
    fps: Annotated[float, typer.Option(help="Live-view pictures per second.")] = 30.0,
    busy_chance: Annotated[float, typer.Option(help="Chance of a busy answer, 0 to 1.")] = 0.0,
    sleep_after: Annotated[float, typer.Option(help="Fall asleep after so long unused, s.")] = 0.0,
    link: Annotated[float, typer.Option(help="Speed of the link, bytes/s; 0 is free.")] = 0.0,
) -> None:
    """Run a Canon EOS M50 that libgphoto2 takes for a real one (PTP/IP on this machine).

    Example: rig peer m50 --serial 663000000002 --port 15740
    """
    from camera_rig.peers.m50 import M50Options, serve

    serve(
        M50Options(
            serial=serial,
            port=port,
            fps=fps,
            busy_chance=busy_chance,
            sleep_after_s=sleep_after,
            link_bytes_per_s=link,
        )
    )


@app.command()
def apt(
    serial: Annotated[str, typer.Option(help="Serial number, eight digits.")] = "27000001",
    link: Annotated[str, typer.Option(help="Name for the pseudo-terminal.")] = "",
) -> None:
    """Run a Thorlabs APT motor controller on a pseudo-terminal.

    Example: rig peer apt --link ./apt-stage
    """
    from camera_rig.peers.apt import AptOptions, serve

    serve(AptOptions(serial=serial, link=link))


@app.command("trigger-box")
def trigger_box(
    serial: Annotated[str, typer.Option(help="Serial number.")] = "SN0001",
    tcp: Annotated[bool, typer.Option("--tcp", help="On TCP (also on Windows).")] = False,
    link: Annotated[str, typer.Option(help="Name for the pseudo-terminal.")] = "",
) -> None:
    """Run a trigger box with LED, shutter and watchdog.

    Example: rig peer trigger-box --tcp
    """
    from camera_rig.peers.trigger_box import TriggerBoxOptions, serve

    serve(TriggerBoxOptions(serial=serial, transport="tcp" if tcp else "pty", link=link))
