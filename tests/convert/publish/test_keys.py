"""Private keys on the disk: for their owner alone, encrypted on demand, and nothing else is taken for one."""

from __future__ import annotations

from pathlib import Path

import pytest

from agent.errors import ArtifactError, ConfigError, EdgeAgentError
from convert.publish.keys import load_keys, new_key, save_key


def test_what_is_saved_is_found_again(tmp_path: Path) -> None:
    signer = new_key()
    path = save_key(signer, "root", tmp_path / "keys")
    assert path.parent == tmp_path / "keys/root"
    assert path.stat().st_mode & 0o777 == 0o600
    assert (tmp_path / "keys").stat().st_mode & 0o777 == 0o700
    assert set(load_keys([tmp_path / "keys"])) == {signer.public_key.keyid}


def test_with_a_passphrase_it_is_encrypted(tmp_path: Path) -> None:
    signer = new_key()
    path = save_key(signer, "root", tmp_path, b"a long sentence")
    assert b"ENCRYPTED" in path.read_bytes()
    assert set(load_keys([tmp_path], b"a long sentence")) == {signer.public_key.keyid}
    with pytest.raises(ConfigError, match="does not open"):
        load_keys([tmp_path], b"another")
    with pytest.raises(ConfigError, match="is encrypted"):
        load_keys([tmp_path])


def test_keys_in_the_clear_and_encrypted_ones_can_be_together(tmp_path: Path) -> None:
    save_key(new_key(), "timestamp", tmp_path)
    save_key(new_key(), "root", tmp_path, b"secret")
    assert len(load_keys([tmp_path], b"secret")) == 2


X25519 = """-----BEGIN PRIVATE KEY-----
MC4CAQAwBQYDK2VuBCIEIKC3nGL8XAhRoSVKOBxKDG8p1Zm6vGF3J6oxYpqZPmJJ
-----END PRIVATE KEY-----
"""


@pytest.mark.parametrize(
    ("text", "kind", "says"),
    [
        ("", ArtifactError, "no private key in PEM form"),
        ("-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n", ArtifactError, "no private key"),
        (X25519, ArtifactError, "no Ed25519 key"),
    ],
)
def test_what_is_no_key_is_refused(tmp_path: Path, text: str, kind: type[EdgeAgentError], says: str) -> None:
    (tmp_path / "odd.pem").write_text(text)
    with pytest.raises(kind, match=says):
        load_keys([tmp_path])


def test_a_folder_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ArtifactError, match="not a folder of keys"):
        load_keys([tmp_path / "absent"])
