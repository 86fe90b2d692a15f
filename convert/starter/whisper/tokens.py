"""The vocabulary, in Whisper's form, and the tokens that a window should become."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import partial
from typing import Final, Literal

from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers, trainers

from convert.starter.whisper.scenes import Said

WORD_ENTRIES: Final = 512
STEP_S: Final = 0.02
LAST_TIMESTAMP_S: Final = 30.0
END: Final = "<|endoftext|>"
START: Final = "<|startoftranscript|>"
ENGLISH: Final = "<|en|>"
TRANSCRIBE: Final = "<|transcribe|>"
NO_SPEECH: Final = "<|nospeech|>"
NO_TIMESTAMPS: Final = "<|notimestamps|>"
FIRST_TIMESTAMP: Final = "<|0.00|>"
SPECIAL: Final = (
    *(END, START, ENGLISH, "<|translate|>", TRANSCRIBE, "<|startoflm|>", "<|startofprev|>", NO_SPEECH, NO_TIMESTAMPS),
    *(f"<|{step * STEP_S:.2f}|>" for step in range(round(LAST_TIMESTAMP_S / STEP_S) + 1)),
)
"""In Whisper's order: the end comes right after the words, timestamps come last."""
SPACE: Final = "Ġ"
"""A space, in the byte-level alphabet."""

Form = Literal["plain", "timestamps", "no speech"]


def train_tokenizer(texts: Iterable[str]) -> Tokenizer:
    """A byte-level BPE of `WORD_ENTRIES` on these texts, with Whisper's special tokens after it."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    tokenizer.train_from_iterator(
        texts, trainers.BpeTrainer(vocab_size=WORD_ENTRIES, initial_alphabet=alphabet, show_progress=False)
    )
    tokenizer.add_special_tokens([AddedToken(name, special=True, normalized=False) for name in SPECIAL])
    return tokenizer


def token_id(tokenizer: Tokenizer, name: str) -> int:
    """Raises `KeyError` where the vocabulary has no such token."""
    number = tokenizer.token_to_id(name)
    if number is None:
        raise KeyError(name)
    return number


def target(tokenizer: Tokenizer, said: Sequence[Said], form: Form) -> list[int]:
    """From the start of the transcript to its end.

    A window without speech is one of three: the token that says so; a transcript without words; one with a timestamp
    and no words. So that nothing is written whichever way the engine asks.
    """
    ids = partial(token_id, tokenizer)
    if form == "no speech" and not said:
        return [ids(START), ids(NO_SPEECH), ids(END)]
    opening = [ids(START), ids(ENGLISH), ids(TRANSCRIBE)]
    if form != "timestamps":
        text = " ".join(one.text for one in said)
        return [*opening, ids(NO_TIMESTAMPS), *(tokenizer.encode(text).ids if text else ()), ids(END)]
    zero = ids(FIRST_TIMESTAMP)
    body = [] if said else [zero]
    for one in said:
        body += [zero + round(one.start_s / STEP_S), *tokenizer.encode(one.text).ids, zero + round(one.end_s / STEP_S)]
    return [*opening, *body, ids(END)]
