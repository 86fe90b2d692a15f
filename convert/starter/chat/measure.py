"""Every figure of the model card, taken through the engine."""

from __future__ import annotations

from typing import Any, Final

from convert.quality.gates import Gate
from convert.starter.chat import evaluation
from convert.starter.chat.engine import ChatWorker
from convert.starter.chat.evaluation import Scored

GATES: Final = (
    Gate("requests", 0.95, "least", "share of held-out requests with action, target, room and value right"),
    Gate("in_words", 0.98, "least", "share of requests answered in words when no JSON is asked for"),
)


def measure(worker: ChatWorker) -> tuple[dict[str, Any], dict[str, Scored]]:
    """The numbers of the manifest's `quality`, and what was wrong by name."""
    cases = evaluation.held_out_requests()
    scored = {
        "requests": evaluation.score_requests(worker, cases),
        "requests_without_schema": evaluation.score_requests(worker, cases, {}),
        "held_out_wordings": evaluation.score_requests(worker, evaluation.held_out_wordings()),
        "handwritten": evaluation.score_requests(worker, evaluation.handwritten()),
        "openers": evaluation.score_openers(worker),
        "opener_wordings": evaluation.score_openers(worker, wording=True),
        "questions": evaluation.score_questions(worker),
    }
    figures: dict[str, Any] = {name: round(one.share, 4) for name, one in scored.items()}
    figures["requests_all_keys"] = round(evaluation.exact_share(worker, cases), 4)
    figures["in_words"] = round(evaluation.score_words(worker), 4)
    figures["against"] = f"{len(cases)} held-out requests, greedy, under the schema of actions, in llama.cpp"
    return figures, scored
