"""The vocabulary, in Whisper's form, and the tokens that a window should become."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Final, Literal

from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers, trainers

from convert.starter.whisper.scenes import Said

WORD_ENTRIES: Final = 896
"""The 256 bytes, and so many more that nearly every word of the language is one token."""
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

Form = Literal["plain", "timestamps"]


@dataclass(frozen=True, eq=False)
class Moment:
    """Of a word, or of where words begin and end: when it is, about, in seconds from the start of the window."""

    start_s: float
    end_s: float
    is_word: bool = True


@dataclass(frozen=True)
class Transcript:
    """`moments[i]` is that of the word or timestamp that `tokens[i]` belongs to; None for other tokens. `after_start`
    is what the model should say after the first token, `tokens[1]` for speech."""

    after_start: int
    tokens: list[int]
    moments: list[Moment | None]

    def add(self, tokens: Sequence[int], moment: Moment | None = None) -> Transcript:
        """At the end; itself is returned."""
        self.tokens.extend(tokens)
        self.moments.extend([moment] * len(tokens))
        return self


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


def target(tokenizer: Tokenizer, said: Sequence[Said], form: Form) -> Transcript:
    """From the start of the transcript to its end.

    A window without speech has no words, and the model should say so at once: engines read the likelihood of
    `NO_SPEECH` after the start, go on with the language all the same, and drop a text where both speak against it.
    """
    ids = partial(token_id, tokenizer)
    made = Transcript(ids(ENGLISH if said else NO_SPEECH), [], [])
    made.add([ids(START), ids(ENGLISH), ids(TRANSCRIBE)])
    zero = ids(FIRST_TIMESTAMP)
    if form != "timestamps":
        made.add([ids(NO_TIMESTAMPS)])
    elif not said:
        made.add([zero])
    for place, one in enumerate(said):
        if form == "timestamps":
            made.add([zero + round(one.start_s / STEP_S)], Moment(one.start_s, one.start_s, is_word=False))
        _add_words(made, tokenizer, one, after_words=form != "timestamps" and place > 0)
        if form == "timestamps":
            made.add([zero + round(one.end_s / STEP_S)], Moment(one.end_s, one.end_s, is_word=False))
    return made.add([ids(END)])


def _add_words(made: Transcript, tokenizer: Tokenizer, said: Said, *, after_words: bool) -> None:
    """Each word's time by its place among the letters: within a quarter of a second in sentences of a few seconds."""
    letter_s = (said.end_s - said.start_s) / len(said.text)
    for word in re.finditer(r"\S+", said.text):
        space = " " if after_words or word.start() else ""
        time = Moment(said.start_s + word.start() * letter_s, said.start_s + word.end() * letter_s)
        made.add(tokenizer.encode(space + word.group()).ids, time)
