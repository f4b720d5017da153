"""``rig serve``: let another machine drive a device that is plugged in here."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from cli._common import ConfigOption, JsonOption, console, emit, make_app

if TYPE_CHECKING:
    from camera_rig.contracts import Device

app = make_app("Serve a device of this machine to another one.")

BindOption = Annotated[str, typer.Option(help="Address to listen on.")]
PortOption = Annotated[int, typer.Option(help="TCP port; 0 takes a free one.")]
TokenOption = Annotated[
    Path, typer.Option("--token", help="Token file; `rig serve token FILE` makes one.")
]
LeaseOption = Annotated[
    float, typer.Option(help="Silence of the writer after which it loses the device, s.", min=0.5)
]
CertificateOption = Annotated[Path | None, typer.Option(help="TLS certificate chain, PEM.")]
KeyOption = Annotated[Path | None, typer.Option(help="TLS private key, PEM.")]


@app.command()
def mirror(
    token: TokenOption,
    config: ConfigOption = "simulated",
    bind: BindOption = "127.0.0.1",
    port: PortOption = 8760,
    lease_s: LeaseOption = 3.0,
    certificate: CertificateOption = None,
    key: KeyOption = None,
) -> None:
    """Serve the deformable mirror.

    Example: rig serve mirror --config lab --token mirror.token --bind 192.168.7.2
    """
    _serve("mirror", config, lease_s, (bind, port, token, certificate, key))


@app.command()
def stage(
    token: TokenOption,
    config: ConfigOption = "simulated",
    bind: BindOption = "127.0.0.1",
    port: PortOption = 8761,
    lease_s: LeaseOption = 3.0,
    certificate: CertificateOption = None,
    key: KeyOption = None,
) -> None:
    """Serve the linear stage.

    Example: rig serve stage --config lab --token stage.token
    """
    _serve("stage", config, lease_s, (bind, port, token, certificate, key))


@app.command()
def light(
    token: TokenOption,
    config: ConfigOption = "simulated",
    bind: BindOption = "127.0.0.1",
    port: PortOption = 8762,
    lease_s: LeaseOption = 3.0,
    certificate: CertificateOption = None,
    key: KeyOption = None,
) -> None:
    """Serve the light.

    Example: rig serve light --config lab --token light.token
    """
    _serve("light", config, lease_s, (bind, port, token, certificate, key))


@app.command("token")
def token_(
    file: Annotated[Path, typer.Argument(help="New file.")], as_json: JsonOption = False
) -> None:
    """Make a new token file (mode 0600); copy it to the other host over a safe way.

    Example: rig serve token mirror.token
    """
    from camera_rig.tokens import make_token

    make_token(file)
    emit({"file": str(file)}, as_json, lambda: typer.echo(f"new token in {file}"))


def _serve(
    role: str,
    config: str,
    lease_s: float,
    place: tuple[str, int, Path, Path | None, Path | None],
) -> None:
    from pydantic import ValidationError

    from camera_rig.clock import SystemClock
    from camera_rig.config import load_config
    from camera_rig.errors import ConfigError
    from camera_rig.server import DeviceHost, ServeOptions, serve

    loaded = load_config(config)
    bind, port, token, certificate, key = place
    try:
        options = ServeOptions(
            bind=bind, port=port, token_file=token, certificate=certificate, key=key
        )
    except ValidationError as error:
        raise ConfigError(
            "; ".join(each["msg"] for each in error.errors()),
            hint="see `rig serve --help`; a certificate needs its key",
        ) from error
    if options.in_the_clear:
        console(stderr=True).print(
            f"[yellow]note:[/] {bind} is reached over the network and the token goes in the "
            "clear; give --certificate and --key"
        )

    @contextmanager
    def device() -> Iterator[Device]:
        from camera_rig.mirror.journal import MirrorJournal
        from camera_rig.mirror.reference import MirrorFolder
        from camera_rig.rig import Rig

        # Opened in the thread that drives it: a device belongs to one thread.
        with Rig.open(loaded, only={role}) as rig:
            if role == "mirror":
                serial = rig.mirror.info.serial
                folder = MirrorFolder(loaded.storage.root, serial)
                rig.mirror.observers.append(MirrorJournal(folder.journal, serial, rig.clock))
                folder.restore_safe(rig.mirror)
            yield rig.devices[role]

    def started(url: str) -> None:
        console().print(f"serving the {role} at {url}; Ctrl-C leaves it safe and stops")

    serve(DeviceHost(device, SystemClock(), lease_s), options, started)
