from __future__ import annotations

import json

import pytest

from agent.bench.report import Ceiling, ModelFacts, Pairing, Point, Power, Report, Row, decode, encode
from agent.errors import RequestError

FULL = Report(
    began="2025-01-02T03:04:05Z",
    url="http://127.0.0.1:8484",
    board={"model": "Raspberry Pi 5"},
    models=[ModelFacts(task="generate", name="m", quantization="Q4_K_M", weights_bytes=10)],
    ceiling=Ceiling(bandwidth_bytes_per_s=1e10, threads=4, bytes_per_token=10**9, tokens_per_s=10.0),
    power=Power(source="PMIC", scope="the board"),
    rows=[
        Row(measure="generate", unit="tokens/s", values=[9.0, 10.0, 8.0], case={"prompt_tokens": 128}),
        Row(measure="first token", unit="s", values=[0.1] * 99 + [2.0], higher_is_better=False, tail=True),
    ],
    points=[Point(at_s=1.0, tokens_per_s=9.0, celsius=50.0)],
    pairings=[Pairing(measure="generate", unit="tokens/s", ours=[1.0], theirs=[2.0], ratios=[0.5], low=0.5, high=0.5)],
    complete=True,
)


def test_a_report_is_one_line_and_comes_back_as_it_was() -> None:
    data = encode(FULL)
    assert data.count(b"\n") == 1
    assert data.endswith(b"\n")
    assert decode(data, "a.json") == FULL
    assert json.loads(data)["schema"] == 1


def test_fields_of_a_later_version_do_no_harm() -> None:
    value = json.loads(encode(FULL)) | {"phase_of_the_moon": 0.5}
    assert decode(json.dumps(value).encode(), "a.json") == FULL


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "is no report"),
        (b"\xff\xfe", "is no report"),
        (b"[]", "is no report"),
        (b"[" * 100_000, "is no report"),
        (b'{"tool": "fio", "schema": 1}', "is no report"),
        (b'{"tool": "edge-agent bench", "schema": 2}', "another edge-agent: form 2"),
        (encode(FULL).replace(b"[9.0,10.0,8.0]", b"[]"), "has no values"),
        (encode(FULL).replace(b"[9.0,10.0,8.0]", b'"fast"'), r"\$.rows\[0\].values"),
    ],
)
def test_what_is_no_report_is_refused_by_name(data: bytes, message: str) -> None:
    with pytest.raises(RequestError, match=message) as caught:
        decode(data, "a.json")
    assert "a.json" in caught.value.message


def test_rows_are_found_by_what_they_measured() -> None:
    assert FULL.row("generate", {"prompt_tokens": 128}) is FULL.rows[0]
    assert FULL.row("generate", {"prompt_tokens": 512}) is None
    assert FULL.rows[0].median == 9.0
    assert FULL.rows[1].percentile(0.99) == pytest.approx(0.1 + 1.9 * 0.01)
