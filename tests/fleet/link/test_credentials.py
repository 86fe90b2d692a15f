from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from agent.fleet.link.credentials import fingerprint, load
from agent.fleet.link.failure import Kind, LinkFailure
from tests.fleet.link.conftest import Papers
from tests.fleet.link.linked import settings


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (None, "No such file"),
        (b"", "no password"),
        (b"\nsecond line", "no password"),
        (b"\xff\xfe", "not UTF-8"),
        (b"x" * 70_000, "no password"),
    ],
)
def test_a_password_file_that_holds_none(tmp_path: Path, content: bytes | None, words: str) -> None:
    file = tmp_path / "password"
    if content is not None:
        file.write_bytes(content)
    with pytest.raises(LinkFailure, match=words) as caught:
        load(settings("mqtt://h", username="me", password_file=file))
    assert caught.value.kind is Kind.LOCAL
    assert str(file) in caught.value.reason


def test_the_first_line_is_the_password(tmp_path: Path) -> None:
    file = tmp_path / "password"
    file.write_bytes("pässword \r\nnext".encode())
    credentials = load(settings("mqtt://h", username="me", password_file=file))
    assert credentials.password == "pässword "
    assert "pässword" not in repr(credentials)


def test_a_key_with_a_passphrase_asks_nobody_for_it(tmp_path: Path, papers: Papers) -> None:
    key = tmp_path / "encrypted.key"
    command = ["openssl", "ec", "-in", str(papers.device.key), "-out", str(key), "-aes256", "-passout", "pass:x"]
    subprocess.run(command, check=True, capture_output=True)
    with pytest.raises(LinkFailure, match="encrypted"):
        load(settings("mqtts://h", ca_file=papers.authority.file, cert_file=papers.device.file, key_file=key))


def test_certificate_and_key_may_be_one_file(tmp_path: Path, papers: Papers) -> None:
    both = tmp_path / "both.pem"
    both.write_bytes(papers.device.file.read_bytes() + papers.device.key.read_bytes())
    assert load(settings("mqtts://h", cert_file=both)).context is not None


def test_no_broker_over_tls_needs_no_files() -> None:
    assert load(settings("mqtt://h", ca_file=Path("/nowhere"))).context is None


def test_any_change_of_a_file_is_seen(tmp_path: Path) -> None:
    file = tmp_path / "file"
    seen = [fingerprint([file])]
    file.write_text("one")
    seen.append(fingerprint([file]))
    file.write_text("two!")
    seen.append(fingerprint([file]))
    other = tmp_path / "other"
    other.write_text("six!")
    other.replace(file)
    seen.append(fingerprint([file]))
    assert len(set(seen)) == 4
