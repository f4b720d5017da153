"""The emulated body by the packet: what libgphoto2 does not show from above."""

from __future__ import annotations

import io
import struct

import numpy as np
import pytest

from camera_rig.errors import ConnectError, StorageError
from camera_rig.jpeg import decode_rgb, jpeg_size
from camera_rig.peers import PeerProcess
from camera_rig.peers._eos import (
    APERTURES,
    ISO_SPEEDS,
    SHUTTER_SPEEDS,
    Op,
    Prop,
    aperture_of,
    exposure_s_of,
    iso_of,
)
from camera_rig.peers._m50_pictures import jpeg, raw_dng, with_comment
from camera_rig.peers.m50 import EmulatedM50, M50Options
from camera_rig.peers.ptpip import Operation

TINY = {"large_size": (64, 48), "small_size": (32, 24), "still_size": (64, 48), "fps": 500.0}


@pytest.fixture
def body() -> EmulatedM50:
    return EmulatedM50(M50Options(**TINY))


def ask(body: EmulatedM50, code: int, *params: int, data: bytes = b"") -> tuple[int, bytes]:
    reply = body.handle(Operation(code, params, data))
    return reply.code, reply.data or b""


def set_number(body: EmulatedM50, prop: Prop, value: int) -> int:
    return ask(body, Op.EOS_SET_PROPERTY, data=struct.pack("<III", 12, prop, value))[0]


def test_scales_agree_with_the_printed_numbers() -> None:
    assert exposure_s_of(SHUTTER_SPEEDS[0]) == pytest.approx(30, rel=0.1)
    assert exposure_s_of(SHUTTER_SPEEDS[-1]) == pytest.approx(1 / 4000, rel=0.03)
    assert aperture_of(APERTURES[-1]) == pytest.approx(22, rel=0.03)
    assert [iso_of(code) for code in (ISO_SPEEDS[0], ISO_SPEEDS[-1])] == [100, 25600]


def test_live_view_warms_up_and_follows_its_size(body: EmulatedM50) -> None:
    assert ask(body, Op.EOS_GET_VIEWFINDER)[0] == 0x2019
    assert set_number(body, Prop.EVF_OUTPUT, 2) == 0x2001
    assert [ask(body, Op.EOS_GET_VIEWFINDER)[0] for _ in range(3)] == [0xA102, 0xA102, 0x2001]
    assert jpeg_size(ask(body, Op.EOS_GET_VIEWFINDER)[1][8:]) == (64, 48)
    set_number(body, Prop.EVF_OUTPUT, 8)
    body._not_ready = 0
    assert jpeg_size(ask(body, Op.EOS_GET_VIEWFINDER)[1][8:]) == (32, 24)


def test_a_file_left_in_its_memory_makes_it_busy(body: EmulatedM50) -> None:
    set_number(body, Prop.SHUTTER, 0x98)
    assert ask(body, Op.EOS_RELEASE_ON, 3)[0] == 0x2001
    assert ask(body, Op.EOS_RELEASE_ON, 3)[0] == 0x2019
    assert ask(body, Op.GET_PARTIAL_OBJECT, 1, 0, 1 << 20)[1][:2] == b"\xff\xd8"
    ask(body, Op.EOS_TRANSFER_COMPLETE, 1)
    assert ask(body, Op.EOS_RELEASE_ON, 3)[0] == 0x2001


def test_it_refuses_as_real_bodies_do(body: EmulatedM50) -> None:
    assert set_number(body, Prop.AUTO_POWER_OFF, 0) == 0x2019
    assert set_number(body, Prop.SHUTTER, 0x44) == 0x201C
    assert ask(body, 0x9999)[0] == 0x2005
    assert ask(body, Op.GET_PARTIAL_OBJECT, 77, 0, 1)[0] == 0x2009


def test_pictures_obey_the_exposure() -> None:
    dark, light = (decode_rgb(jpeg((64, 48), 0, gain)).mean() for gain in (0.1, 0.4))
    # Four times the light, coded with the usual gamma.
    assert light / dark == pytest.approx(4 ** (1 / 2.2), rel=0.05)


def test_the_raw_file_decodes_to_what_went_in() -> None:
    rawpy = pytest.importorskip("rawpy")
    with rawpy.imread(io.BytesIO(raw_dng((64, 48), 0, 0.5))) as raw:
        bayer = np.asarray(raw.raw_image_visible, float)
        black, white = raw.black_level_per_channel[0], raw.white_level
    assert bayer.shape == (48, 64)
    level = (bayer[:20, 12:20] - black) / (white - black)
    assert level.mean() == pytest.approx(0.5 * 0.18, rel=0.05)  # second grey step


def test_torn_pictures_are_refused() -> None:
    whole = with_comment(jpeg((64, 48), 0, 0.5), "frame 1")
    assert jpeg_size(whole) == (64, 48)
    for torn in (b"", whole[:20], b"\0" * 100):
        with pytest.raises(StorageError):
            jpeg_size(torn)
    with pytest.raises(StorageError):
        decode_rgb(b"no picture")


def test_a_peer_process_says_what_it_does_not_know() -> None:
    with PeerProcess("m50", M50Options(**TINY)) as peer:
        with pytest.raises(ConnectError, match="unknown command 'fly'"):
            peer.tell("fly")
        with pytest.raises(ConnectError):
            peer.tell("busy many")
        assert peer.tell("stats")["stills"] == 0
    with pytest.raises(ConnectError, match="gone"):
        peer.tell("stats")
