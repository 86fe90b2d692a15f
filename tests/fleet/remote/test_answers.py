"""What devices say about a command, as a table: messages in, the answer out."""

from __future__ import annotations

import hashlib
import json
from typing import Any

import pytest

from agent.fleet.remote import pieces
from agent.fleet.remote.answers import Answer, Answers, Status

S = {"status": "successful", "result": {"a": 1}}
E = {"status": "executing"}
F = {"status": "failed", "reason": "no", "code": "c"}


def heard(*bodies: Any) -> Answer:
    answers = Answers(["d"])
    answers.sent("d", 10.0)
    for body in bodies:
        answers.message("d", body if isinstance(body, bytes) else json.dumps(body).encode(), 12.5)
    return answers["d"]


@pytest.mark.parametrize(
    ("bodies", "status", "result", "reason"),
    [
        ([], Status.WAITING, None, ""),
        ([{"status": "init", "args": {}}], Status.WAITING, None, ""),
        ([b""], Status.WAITING, None, ""),
        ([E], Status.EXECUTING, None, ""),
        ([E, S], Status.SUCCESSFUL, {"a": 1}, ""),
        ([S, E], Status.SUCCESSFUL, {"a": 1}, ""),
        ([S, F], Status.SUCCESSFUL, {"a": 1}, ""),
        ([F, S], Status.FAILED, None, "no"),
        ([b"\xff", S], Status.SUCCESSFUL, {"a": 1}, ""),
        ([{"status": "successful", "reason": "done before"}], Status.SUCCESSFUL, None, "done before"),
        ([{"status": "successful", "result": None}], Status.SUCCESSFUL, None, ""),
        ([{"status": "failed"}], Status.FAILED, None, "It gave no reason."),
        ([{"status": "failed", "reason": ["x"]}], Status.FAILED, None, '["x"]'),
        ([{"status": ["successful"]}], Status.WAITING, None, ""),
        ([{"status": "exploded"}], Status.WAITING, None, ""),
        ([{**S, "result_pieces": 7}], Status.WAITING, None, ""),
        ([{**S, "result_pieces": {"count": 10**9, "bytes": 1, "sha256": ""}}], Status.WAITING, None, ""),
        ([{**S, "result_pieces": {"count": True, "bytes": 1, "sha256": ""}}], Status.WAITING, None, ""),
    ],
)
def test_the_first_final_state_counts(bodies: list[Any], status: Status, result: Any, reason: str) -> None:
    answer = heard(*bodies)
    assert (answer.status, answer.result, answer.reason) == (status, result, reason)
    assert answer.took_s == (2.5 if status.final else None)


def test_who_was_not_asked_does_not_count() -> None:
    answers = Answers(["d"])
    assert answers.message("stranger", json.dumps(S).encode(), 1.0) is None
    assert answers.piece("stranger", 0, b"x", 1.0) is None
    assert answers.waiting == {"d"}


@pytest.mark.parametrize(
    ("bodies", "reason"),
    [
        ([], "no answer in 5 s"),
        ([E], "no answer in 5 s; it had begun"),
        ([E, b"\xff"], "no answer in 5 s; it sent no JSON"),
        (
            [{**S, "result_pieces": {"count": 3, "bytes": 1, "sha256": ""}}],
            "no answer in 5 s; of its result came 0 of 3 pieces",
        ),
    ],
)
def test_the_missing_are_named_with_what_is_known_of_them(bodies: list[Any], reason: str) -> None:
    answers = Answers(["d", "done"])
    answers.message("done", json.dumps(S).encode(), 1.0)
    for body in bodies:
        answers.message("d", body if isinstance(body, bytes) else json.dumps(body).encode(), 1.0)
    assert [(answer.device, answer.status, answer.reason) for answer in answers.give_up("no answer in 5 s")] == [
        ("d", Status.MISSING, reason)
    ]
    assert answers.complete
    assert answers.message("d", json.dumps(S).encode(), 9.0) is None  # too late


class TestPieces:
    RESULT = json.dumps({"text": "long " * 100}).encode()
    CUT = (RESULT[:200], RESULT[200:400], RESULT[400:])

    def manifest(self, **other: Any) -> bytes:
        digest = hashlib.sha256(self.RESULT).hexdigest()
        found = {"topic": "t", "count": 3, "bytes": len(self.RESULT), "sha256": digest, **other}
        return json.dumps({"status": "successful", "result_pieces": found}).encode()

    @pytest.mark.parametrize(
        "order", [[0, 1, 2, "m"], ["m", 2, 1, 0], [1, "m", 1, 0, 2], ["m", "m", 0, 1, 2], [0, 2, 9, "m", 1]]
    )
    def test_in_any_order_they_become_the_result(self, order: list[int | str]) -> None:
        answers = Answers(["d"])
        for one in order:
            if isinstance(one, int):
                answers.piece("d", one, self.CUT[one] if one < 3 else b"stray", 1.0)
            else:
                answers.message("d", self.manifest(), 1.0)
        assert answers["d"].status is Status.SUCCESSFUL
        assert answers["d"].result == json.loads(self.RESULT)

    @pytest.mark.parametrize("other", [{"sha256": "0" * 64}, {"bytes": 3}])
    def test_a_whole_that_is_not_what_was_said_fails(self, other: dict[str, Any]) -> None:
        answers = Answers(["d"])
        answers.message("d", self.manifest(**other), 1.0)
        for index, piece in enumerate(self.CUT):
            answers.piece("d", index, piece, 1.0)
        assert answers["d"].status is Status.FAILED
        assert "sha256" in answers["d"].reason

    def test_a_piece_that_is_missing_is_waited_for(self) -> None:
        answers = Answers(["d"])
        answers.message("d", self.manifest(), 1.0)
        answers.piece("d", 0, self.CUT[0], 1.0)
        assert answers["d"].status is Status.EXECUTING
        answers.piece("d", 1, b"", 1.0)  # cleared
        assert answers["d"].status is Status.EXECUTING

    def test_memory_is_bounded_and_comes_back(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(pieces, "ALL_BYTES", 1000)
        answers = Answers(["a", "b", "c"])
        answers.piece("a", 0, bytes(800), 1.0)
        answers.piece("b", 0, bytes(800), 1.0)
        assert answers["b"].status is Status.FAILED
        answers.message("a", b'{"status": "failed"}', 1.0)
        answers.piece("c", 0, bytes(800), 1.0)
        assert answers["c"].status is Status.EXECUTING
