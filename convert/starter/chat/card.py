"""The model card that goes with the model."""
# ruff: noqa: E501  lines of the card

from __future__ import annotations

from typing import Any, Final

from convert.starter.chat import evaluation
from convert.starter.chat.training import Recipe, Trained

_CARD: Final = """# starter-chat

A very small language model ({parameters:.1f} million parameters, {size:.1f} MB at Q8_0) for the short conversations of a
home device, in English. It greets, says what it is and can do, answers questions about the status that a system message
gives it, declines the rest, and turns requests into JSON actions. It ships with edge-agent, so that a new device answers
before any other model is there.

## What it can do

- **Requests to actions**: with `response_format` it answers `{{"action":"turn_on","target":"light","room":"kitchen"}}`.
  `agent/starter/action.schema.json` is the schema; `docs/starter-models.md` lists the actions. Without
  `response_format` it says in words what it understood: "Okay, turning on the kitchen light." It acts on nothing itself:
  that is for the program that reads the action.
- **Status**: lines such as `temperature: 54 C` in the system message are what it knows. Of anything else it says that it
  has no data.
- **Talk**: greetings, thanks, goodbyes, its name and abilities; small talk it declines kindly.

## What it cannot do

It knows no facts, cannot calculate, write or translate, and speaks no other language. It was trained on sentences made
from patterns: what is worded very differently it may misunderstand, with full confidence. It knows the rooms and devices
of its schema and no others. It follows no instructions of a system message but "Answer in JSON". Do not let it open
doors or disarm alarms without asking back. It must not be relied on in an emergency.

## Measured

Through the engine of edge-agent (llama.cpp), Q8_0, greedily.

| what | right |
|---|---|
| {requests_count} held-out requests, under the schema: action, target, room and value | {requests:.1%} |
| the same, every key of the action | {requests_all_keys:.1%} |
| the same, with `{{"type": "json_object"}}` instead of the schema | {requests_without_schema:.1%} |
| {wordings_count} requests in wordings that training never uses | {held_out_wordings:.1%} |
| {handwritten_count} requests written by hand | {handwritten:.1%} |
| {openers_count} held-out openers of conversation: an answer of the right kind | {openers:.1%} |
| {openers_count} openers in wordings that training never uses | {opener_wordings:.1%} |
| {questions_count} held-out questions about the status, word for word | {questions:.1%} |
| requests answered in words where no JSON is asked for | {in_words:.1%} |

Held-out requests are sentences of the training's own patterns that it never drew, with the same politeness and slips.
They say that the model has learned this language. The wordings and the requests by hand say how far it reaches beyond.

## How it was made

`python -m convert.starter.chat --out DIR --seed {seed}`: {steps} steps of {batch} tokens, {minutes:.0f} minutes of
processor time here. Conversations are made by the patterns in `convert/starter/chat`, from the seed; no text of anybody
went into it. Llama architecture: {layers} layers of width {width}, {heads} heads and {kv_heads} for keys and values,
feed-forward {feed_forward}, embedding shared with the output. A byte-level BPE of {vocabulary} tokens, digits apart.
The chat template lowers user messages and keeps the last six exchanges.

## Samples

As it answers, greedily; JSON where the schema is given.

{samples}

MIT license.
"""


def card(
    figures: dict[str, Any],
    samples: list[str],
    *,
    trained: Trained,
    recipe: Recipe,
    size_bytes: int,
) -> str:
    """The text of README.md."""
    shape = trained.model.shape
    return _CARD.format(
        **{name: value for name, value in figures.items() if isinstance(value, float)},
        parameters=trained.model.parameter_count / 1e6,
        size=size_bytes / 1e6,
        requests_count=evaluation.REQUESTS,
        wordings_count=evaluation.WORDINGS,
        handwritten_count=len(evaluation.handwritten()),
        openers_count=evaluation.OPENERS,
        questions_count=evaluation.QUESTIONS,
        seed=recipe.seed,
        steps=trained.steps,
        batch=recipe.batch_tokens,
        minutes=trained.seconds / 60,
        layers=shape.layers,
        width=shape.width,
        heads=shape.heads,
        kv_heads=shape.kv_heads,
        feed_forward=shape.feed_forward,
        vocabulary=shape.vocabulary,
        samples="\n\n".join(samples),
    )
