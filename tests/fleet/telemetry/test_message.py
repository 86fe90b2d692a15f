from __future__ import annotations

import zlib

import msgspec

from agent.fleet.telemetry.message import ENVELOPE_BYTES, batch, deflated, single
from agent.fleet.telemetry.run import Run
from agent.fleet.telemetry.sample import Kind

RUN = Run(41, "b" * 36, -1.5, [b'{"time":1,"up":2,"v":3}', b'{"time":2,"up":3,"v":4}'])


def test_a_batch() -> None:
    payload = batch(RUN, log="0a", missing=3, up_s=9.0)
    assert msgspec.json.decode(payload) == {
        "seq": 41,
        "log": "0a",
        "boot": "b" * 36,
        "clock": -1.5,
        "up": 9.0,
        "missing": 3,
        "samples": [{"time": 1, "up": 2, "v": 3}, {"time": 2, "up": 3, "v": 4}],
    }
    assert len(batch(Run(2**62, "b" * 36, -1e12, []), log="0" * 8, missing=2**62, up_s=1e12)) < ENVELOPE_BYTES
    assert msgspec.json.decode(batch(RUN, log="0a", missing=0, up_s=None)).keys() == {
        "seq", "log", "boot", "clock", "samples",
    }  # fmt: skip


def test_deflated_only_where_it_helps() -> None:
    payload = batch(Run(1, "b", 0, RUN.lines * 50), log="0a", missing=0, up_s=None)
    assert zlib.decompress(deflated(payload)) == payload
    assert not deflated(payload).startswith(b"{")
    assert deflated(b"{}") == b"{}"


def test_as_thin_edge_reads_it() -> None:
    line = b'{"time":1.5,"up":2,"celsius":50.5,"hot":true,"by":"sun","disk":{"free":1,"name":"x"},"e":{"n":"x"}}'
    assert msgspec.json.decode(single(line, 7, Kind.MEASUREMENT)) == {
        "time": 1.5, "seq": 7, "celsius": 50.5, "hot": 1, "disk": {"free": 1},
    }  # fmt: skip
    event = b'{"time":1.5,"up":2,"text":"hello","what":"ready"}'
    assert msgspec.json.decode(single(event, 7, Kind.EVENT)) == {
        "time": 1.5, "up": 2, "text": "hello", "what": "ready", "seq": 7,
    }  # fmt: skip
