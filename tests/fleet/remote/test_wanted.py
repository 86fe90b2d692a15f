"""Desired states are read before they are written, and two writers at once are noticed."""

from __future__ import annotations

import json
from typing import Any

import pytest

from agent.errors import RequestError
from agent.fleet.remote.payload import GarbledError
from agent.fleet.remote.wanted import Document, Finding, Mark, Sheet, raised, read_document
from agent.updates.desired import read_desired

MARK = Mark(version="2", stage="5%", before="1", by="desk")


def document(rev: int | str, **targets: str) -> Document:
    return Document({"rev": rev, "models": {name: {"target": target} for name, target in targets.items()}})


def test_an_empty_topic_gets_a_first_state_that_devices_read() -> None:
    asking = Document().asking("qwen", MARK, urgent=True, now=1_700_000_000.5)
    found = read_desired(asking.encoded())
    assert found.rev == "1700000001"
    assert (found.models["qwen"].version, found.models["qwen"].terms.urgent) == ("2", True)
    assert asking.mark("qwen") == MARK


def test_everything_else_stays() -> None:
    before: dict[str, Any] = {
        "rev": 12,
        "site": {"a": [1]},
        "models": {
            "whisper": {"target": "3", "x": 1},
            "qwen": {"target": "1", "policy": {"attempts": 2, "again": True}},
        },
        "rollouts": {"whisper": {"version": "3", "stage": "100%"}},
    }
    asking = Document(before).asking("qwen", MARK)
    assert asking.value == {
        **before,
        "rev": 13,
        "models": {"whisper": {"target": "3", "x": 1}, "qwen": {"target": "2", "policy": {"attempts": 2}}},
        "rollouts": {**before["rollouts"], "qwen": MARK.as_value()},
    }
    back = asking.setting_back("qwen", "1", None)
    assert back.value == {
        **before,
        "rev": 14,
        "models": {**asking.value["models"], "qwen": back.value["models"]["qwen"]},
    }
    assert back.value["models"]["qwen"] == {"target": "1", "policy": {"attempts": 2}}


def test_a_model_that_the_device_does_not_serve_is_not_named_any_more() -> None:
    back = document(3, qwen="2", whisper="3").setting_back("qwen", "", None)
    assert back.value == {"rev": 4, "models": {"whisper": {"target": "3"}}}


@pytest.mark.parametrize(
    ("rev", "reported", "expected"),
    [
        (12, "", 13),
        (12, "20", 21),
        ("12", "", 13),
        ("spring", "", "spring+1"),
        ("spring+1", "", "spring+2"),
        ("a+b", "7", "a+b+1"),
        (2**53, "", 2**53),
        (0, "junk", 1),
        (None, "", 101),
        (None, "500", 501),
    ],
)
def test_the_rev_is_raised(rev: int | str | None, reported: str, expected: int | str) -> None:
    assert raised(rev, reported, 100.0) == expected


@pytest.mark.parametrize(
    "payload", [b"\xff", b"[]", b"{}", b'{"rev": 1, "models": []}', b'{"rev": 1.5}', b'{"rev": null}']
)
def test_what_no_device_reads_is_not_written_over(payload: bytes) -> None:
    with pytest.raises(GarbledError):
        read_document(payload)


def test_more_models_than_a_device_takes_are_not_written() -> None:
    full = document(1, **{f"m{number}": "1" for number in range(64)})
    full.encoded()
    with pytest.raises(RequestError, match="larger than devices read"):
        full.asking("qwen", MARK).encoded()


def encoded(document: Document) -> bytes:
    return json.dumps(document.value).encode()


def sheet_with_our_word() -> tuple[Sheet, Document]:
    sheet = Sheet("qwen")
    assert sheet.take(encoded(document(1, whisper="3"))) is Finding.CHANGED
    ours = sheet.document.asking("qwen", MARK)
    sheet.sent(ours, ours.encoded())
    return sheet, ours


def test_our_word_arrives() -> None:
    sheet, ours = sheet_with_our_word()
    assert sheet.pending
    assert sheet.take(encoded(document(1, whisper="3"))) is Finding.NOTHING, "a new subscription brings the old one"
    assert sheet.take(ours.encoded()) is Finding.ARRIVED
    assert (sheet.pending, sheet.document) == (False, ours)
    assert sheet.take(ours.encoded()) is Finding.NOTHING


def test_what_we_have_overwritten_is_put_together_with_ours() -> None:
    sheet, ours = sheet_with_our_word()
    assert sheet.take(encoded(document(2, whisper="4", minilm="1"))) is Finding.CHANGED
    assert sheet.take(ours.encoded()) is Finding.OVERWRITTEN
    repaired = sheet.repaired()
    assert not sheet.torn
    assert repaired.value["rev"] == 3
    assert {name: repaired.target(name) for name in ("whisper", "minilm", "qwen")} == {
        "whisper": "4",
        "minilm": "1",
        "qwen": "2",
    }
    assert repaired.mark("qwen") == MARK


def test_the_same_wish_of_another_run_is_no_clash() -> None:
    sheet, ours = sheet_with_our_word()
    theirs = sheet.document.asking("qwen", Mark(version="2", stage="5%", by="laptop"))
    assert sheet.take(theirs.encoded()) is Finding.CHANGED
    assert sheet.take(ours.encoded()) is Finding.ARRIVED
    assert sheet.take(theirs.encoded()) is Finding.CHANGED
    assert not sheet.torn


@pytest.mark.parametrize(
    ("theirs", "finding"),
    [
        (document(2, whisper="4"), Finding.LOST),
        (document(3, whisper="4"), Finding.CHANGED),
        (document(3, whisper="4", qwen="7"), Finding.CHANGED),
        (document("mine", qwen="7"), Finding.LOST),
    ],
)
def test_whoever_has_not_read_ours_has_overwritten_it(theirs: Document, finding: Finding) -> None:
    sheet, ours = sheet_with_our_word()
    sheet.take(ours.encoded())
    assert sheet.take(encoded(theirs)) is finding
    assert sheet.document == theirs


def test_others_may_write_on_top_of_ours() -> None:
    sheet, ours = sheet_with_our_word()
    sheet.take(ours.encoded())
    theirs = ours.asking("whisper", Mark(version="9"))
    assert sheet.take(theirs.encoded()) is Finding.CHANGED
    lost = document(2, whisper="8")
    assert sheet.take(encoded(lost)) is Finding.LOST, "ours was in it until then"


def test_what_cannot_be_read_is_said_and_left() -> None:
    sheet = Sheet("qwen")
    assert sheet.take(b"hello") is Finding.CHANGED
    assert sheet.garbled == "no JSON"
    assert sheet.take(encoded(document(1))) is Finding.CHANGED
    assert sheet.garbled == ""
