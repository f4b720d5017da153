"""The token file."""

import sys

import pytest

from camera_rig.errors import ConfigError, StorageError
from camera_rig.tokens import make_token, read_token


def test_made_tokens_are_private_new_and_readable(tmp_path):
    make_token(tmp_path / "a" / "one")
    make_token(tmp_path / "two")
    assert read_token(tmp_path / "a" / "one") != read_token(tmp_path / "two")
    if sys.platform != "win32":
        assert (tmp_path / "two").stat().st_mode & 0o777 == 0o600
    with pytest.raises(StorageError, match="cannot write"):
        make_token(tmp_path / "two")


@pytest.mark.skipif(sys.platform == "win32", reason="file modes mean nothing there")
@pytest.mark.parametrize("mode", [0o640, 0o604, 0o666])
def test_token_that_others_can_read_is_refused(tmp_path, mode):
    make_token(tmp_path / "token")
    (tmp_path / "token").chmod(mode)
    with pytest.raises(ConfigError, match="read by others") as caught:
        read_token(tmp_path / "token")
    assert "chmod 600" in caught.value.hint


@pytest.mark.parametrize("text", ["", "short", "x" * 600, "two words " * 4])
def test_what_is_no_token_is_refused(tmp_path, text):
    path = tmp_path / "token"
    path.write_text(text)
    path.chmod(0o600)
    with pytest.raises(ConfigError, match="no token"):
        read_token(path)


def test_absent_file_is_told(tmp_path):
    with pytest.raises(ConfigError, match="cannot be read") as caught:
        read_token(tmp_path / "nothing")
    assert "rig serve token" in caught.value.hint
