"""What chat templates cost a worker: a process of its own, since another test may have brought OpenSSL already."""

from __future__ import annotations

import subprocess
import sys

import pytest

CODE = """
from agent.engines.llama.template import ChatTemplate
assert ChatTemplate("{{ messages[0].content }}!").render([{"role": "user", "content": "hi"}]) == "hi!"
import hashlib
assert hashlib.sha256(b"abc").hexdigest().startswith("ba7816bf")
assert "libcrypto" not in open("/proc/self/maps").read()
import _hashlib  # whoever wants it later can have it
"""


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc/self/maps")
def test_a_chat_template_brings_no_openssl() -> None:
    pytest.importorskip("_hashlib")
    done = subprocess.run([sys.executable, "-c", CODE], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
