"""The device side of PTP/IP (CIPA DC-005): packets on TCP, one host at a time.

Knows nothing about cameras: a :class:`Responder` gets operations and gives replies.
All numbers are little-endian; a packet is u32 length, u32 type, body.
"""

from __future__ import annotations

import contextlib
import socket
import struct
import threading
import time
from dataclasses import dataclass, field
from enum import IntEnum
from typing import Protocol

__all__ = ["Operation", "PtpIpServer", "Reply", "Responder", "pack_array", "pack_string"]

OK = 0x2001
_FAIL_BUSY = 0x01
_VERSION = 0x00010000
_BLOCK_BYTES = 1 << 20


class _Packet(IntEnum):
    INIT_COMMAND = 1
    INIT_COMMAND_ACK = 2
    INIT_EVENT = 3
    INIT_EVENT_ACK = 4
    INIT_FAIL = 5
    REQUEST = 6
    RESPONSE = 7
    EVENT = 8
    START_DATA = 9
    DATA = 10
    CANCEL = 11
    END_DATA = 12
    PING = 13
    PONG = 14


@dataclass(frozen=True, slots=True)
class Operation:
    """What the host asks: operation code, up to five parameters, and its data."""

    code: int
    params: tuple[int, ...]
    data: bytes


@dataclass(frozen=True, slots=True)
class Reply:
    """What the device answers: response code, data (None: no data phase), parameters."""

    code: int = OK
    data: bytes | None = None
    params: tuple[int, ...] = field(default=())


class Responder(Protocol):
    """A device behind the transport."""

    def handle(self, operation: Operation) -> Reply:
        """Answer one operation; called from one thread at a time."""
        ...

    def disconnected(self) -> None:
        """The host went away, with or without saying so."""
        ...


def pack_string(text: str) -> bytes:
    """Return a PTP string: count of UTF-16 units with the final zero, then the units."""
    if not text:
        return b"\0"
    return struct.pack("<B", len(text) + 1) + (text + "\0").encode("utf-16-le")


def pack_array(values: tuple[int, ...], code: str = "H") -> bytes:
    """Return a PTP array: u32 count and the values, u16 (``H``) or u32 (``I``)."""
    return struct.pack(f"<I{len(values)}{code}", len(values), *values)


class PtpIpServer:
    """Listens on loopback and serves one host.

    Args:
        responder: The device.
        name: Friendly name told at the handshake.
        bytes_per_s: Speed of the link, bytes/s; 0 is as fast as it goes.
    """

    def __init__(self, responder: Responder, name: str, bytes_per_s: float = 0.0) -> None:
        self.responder = responder
        self.name = name
        self.bytes_per_s = bytes_per_s
        self._lock = threading.Lock()
        self._listener: socket.socket | None = None
        self._command: socket.socket | None = None
        self._event: socket.socket | None = None
        self.bytes_sent = 0

    def listen(self, port: int = 0) -> int:
        """Begin to listen on 127.0.0.1 and return the port."""
        listener = socket.create_server(("127.0.0.1", port))
        self._listener = listener
        threading.Thread(target=self._accept, args=(listener,), daemon=True).start()
        return int(listener.getsockname()[1])

    def unplug(self) -> None:
        """Close every socket at once, as a pulled cable does."""
        with self._lock:
            sockets = [self._listener, self._command, self._event]
            self._listener = self._command = self._event = None
        for one in sockets:
            _shut(one)

    def _accept(self, listener: socket.socket) -> None:
        while True:
            try:
                link, _ = listener.accept()
            except OSError:
                return  # unplugged
            link.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            threading.Thread(target=self._serve, args=(link,), daemon=True).start()

    def _serve(self, link: socket.socket) -> None:
        # A host that goes away in mid-packet is an everyday event here.
        with contextlib.suppress(OSError, EOFError):
            kind, _ = _receive(link)
            if kind == _Packet.INIT_EVENT:
                self._event = link
                link.sendall(_packet(_Packet.INIT_EVENT_ACK))
                return
            if kind == _Packet.INIT_COMMAND:
                self._session(link)
        _shut(link)

    def _session(self, link: socket.socket) -> None:
        with self._lock:
            taken = self._command is not None
            if not taken:
                self._command = link
        if taken:
            link.sendall(_packet(_Packet.INIT_FAIL, struct.pack("<I", _FAIL_BUSY)))
            return
        try:
            guid = self.name.encode()[:16].ljust(16, b"\0")
            name = (self.name + "\0").encode("utf-16-le")
            ack = struct.pack("<I", 1) + guid + name + struct.pack("<I", _VERSION)
            link.sendall(_packet(_Packet.INIT_COMMAND_ACK, ack))
            while True:
                self._transaction(link)
        finally:
            with self._lock:
                if self._command is link:
                    self._command = None
                event, self._event = self._event, None
            _shut(event)
            self.responder.disconnected()

    def _transaction(self, link: socket.socket) -> None:
        kind, body = _receive(link)
        if kind == _Packet.PING:
            link.sendall(_packet(_Packet.PONG))
            return
        if kind != _Packet.REQUEST:
            return
        phase, code, transaction = struct.unpack_from("<IHI", body)
        params = struct.unpack(f"<{(len(body) - 10) // 4}I", body[10:])
        data = _receive_data(link) if phase == 2 else b""
        reply = self.responder.handle(Operation(code, params, data))
        parts = []
        if reply.data is not None:
            parts.append(
                _packet(_Packet.START_DATA, struct.pack("<IQ", transaction, len(reply.data)))
            )
            blocks = range(0, max(1, len(reply.data)), _BLOCK_BYTES)
            for start in blocks:
                last = start == blocks[-1]
                parts.append(
                    _packet(
                        _Packet.END_DATA if last else _Packet.DATA,
                        struct.pack("<I", transaction) + reply.data[start : start + _BLOCK_BYTES],
                    )
                )
        head = struct.pack(f"<HI{len(reply.params)}I", reply.code, transaction, *reply.params)
        parts.append(_packet(_Packet.RESPONSE, head))
        self._send(link, b"".join(parts))

    def _send(self, link: socket.socket, data: bytes) -> None:
        self.bytes_sent += len(data)
        if not self.bytes_per_s:
            link.sendall(data)
            return
        step = max(1024, int(self.bytes_per_s * 0.01))
        for start in range(0, len(data), step):
            link.sendall(data[start : start + step])
            time.sleep(len(data[start : start + step]) / self.bytes_per_s)


def _packet(kind: _Packet, body: bytes = b"") -> bytes:
    return struct.pack("<II", len(body) + 8, kind) + body


def _receive(link: socket.socket) -> tuple[int, bytes]:
    length, kind = struct.unpack("<II", _exactly(link, 8))
    return kind, _exactly(link, length - 8)


def _receive_data(link: socket.socket) -> bytes:
    data = b""
    while True:
        kind, body = _receive(link)
        if kind in (_Packet.DATA, _Packet.END_DATA):
            data += body[4:]
        if kind in (_Packet.END_DATA, _Packet.CANCEL):
            return data


def _exactly(link: socket.socket, count: int) -> bytes:
    data = b""
    while len(data) < count:
        part = link.recv(count - len(data))
        if not part:
            raise EOFError("the host closed the link")
        data += part
    return data


def _shut(link: socket.socket | None) -> None:
    if link is None:
        return
    with contextlib.suppress(OSError):  # it may be closed at the other end already
        link.shutdown(socket.SHUT_RDWR)
    link.close()
