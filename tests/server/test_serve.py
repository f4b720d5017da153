"""``rig serve`` as a process of its own: TLS, token, and a safe end."""

from __future__ import annotations

import datetime
import ipaddress
import json
import signal
import subprocess
import sys

import numpy as np
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from camera_rig.clock import ManualClock
from camera_rig.contracts import DeviceContext
from camera_rig.drivers.remote import RemoteMirror, RemoteOptions
from camera_rig.errors import ConnectError
from camera_rig.server import ServeOptions, listen
from camera_rig.tokens import make_token


def certificate(folder):
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "mirror host")])
    now = datetime.datetime.now(datetime.UTC)
    address = x509.IPAddress(ipaddress.ip_address("127.0.0.1"))
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(hours=1))
        .not_valid_after(now + datetime.timedelta(hours=1))
        .add_extension(x509.SubjectAlternativeName([address]), critical=False)
        .sign(key, hashes.SHA256())
    )
    (folder / "cert.pem").write_bytes(made.public_bytes(serialization.Encoding.PEM))
    (folder / "key.pem").write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
    )


@pytest.mark.skipif(sys.platform == "win32", reason="sends a POSIX signal")
def test_a_host_serves_over_tls_and_parks_when_stopped(tmp_path):
    make_token(tmp_path / "token")
    certificate(tmp_path)
    words = [sys.executable, "-m", "cli.main", "serve", "mirror", "--token", "token"]
    words += ["--port", "0", "--certificate", "cert.pem", "--key", "key.pem"]
    folder = pytest.importorskip("cli").__path__[0] + "/.."
    process = subprocess.Popen(
        words,
        cwd=tmp_path,
        env={"PYTHONPATH": folder, "PATH": "", "HOME": str(tmp_path)},
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        url = process.stdout.readline().split()[4].rstrip(";")
        assert url.startswith("https://127.0.0.1:")
        context = DeviceContext("mirror", ManualClock())
        trusting = RemoteOptions(
            url=url, token_file=tmp_path / "token", ca_file=tmp_path / "cert.pem"
        )
        mirror = RemoteMirror(trusting, context)
        mirror.open()
        mirror.set_safe_command(np.full(40, 140.0))
        mirror.apply(np.full(40, 160.0), reason="over TLS")
        strangers = RemoteOptions(url=url, token_file=tmp_path / "token", attempts=1)
        with pytest.raises(ConnectError, match="certificate"):
            RemoteMirror(strangers, context).open()
        process.send_signal(signal.SIGTERM)
        process.wait(timeout=20)
        mirror.close()
    finally:
        process.kill()
        process.wait()
        process.stdout.close()
    (journal,) = (tmp_path / "rig-data/mirror/TWIN-DMH40/journal").glob("*.jsonl")
    lines = [json.loads(line) for line in journal.read_text().splitlines()]
    assert lines[0]["reason"] == "remote: over TLS"
    assert lines[-1]["reason"] == "park" and lines[-1]["command_v"] == [140.0] * 40


def test_ports_that_cannot_be_had_are_told():
    with listen("127.0.0.1", 0) as taken, pytest.raises(ConnectError, match="cannot listen"):
        listen("127.0.0.1", taken.getsockname()[1])
    with pytest.raises(ConnectError, match="cannot listen"):
        listen("192.0.2.1", 0)


@pytest.mark.parametrize(
    ("bind", "clear"),
    [("127.0.0.1", False), ("::1", False), ("localhost", False), ("0.0.0.0", True)],
)
def test_a_token_in_the_clear_is_noticed(tmp_path, bind, clear):
    assert ServeOptions(bind=bind, token_file=tmp_path / "t").in_the_clear is clear
