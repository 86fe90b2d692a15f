"""Sentences to train on, in families: two ways to say one thing, and the same with other words.

Everything is a function of the seed and of what is passed in: no file is read here, no clock, no global generator.
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from convert.starter.embed.grammar import ANY_WORD, HELD_OUT, WORDS_IN_USE, Subject, fill

FAMILY: Final = 3
"""Sentences of a family."""
WORDS_SHARE: Final = 0.25
PROSE_SHARE: Final = 0.25
"""Of the families; the others are of the subjects."""
TYPO_SHARE: Final = 0.05
WRAPPED_SHARE: Final = 0.12
JOINED_SHARE: Final = 0.10
BARE_SHARE: Final = 0.12
"""Of the sentences."""
RARER: Final = 1.6
"""Any word is drawn at the place u ** RARER of the vocabulary, which begins with the frequent ones."""
BEFORE: Final = (
    "Please: ", "Hello, ", "I think that ", "Do you know, ", "Tell me: ", "Is it true: ", "They say: ", "Hey, ",
    "Can you tell me, ", "Note: ", "Question: ", "I heard that ", "Well, ", "By the way, ", "In my opinion ", "Quick: ",
)  # fmt: skip
AFTER: Final = (
    " Thank you.", " Please.", " Thanks in advance!", " That is all.", " What do you think?", " Is that right?", " OK?",
    " I am not sure.", " Why?", " Please answer soon.", " Best regards", " It is urgent.",
)  # fmt: skip


@dataclass(frozen=True)
class Sources:
    """`words` are the teacher's, frequent ones first; `prose` are sentences of other people."""

    subjects: Mapping[str, Subject]
    words: Sequence[str]
    prose: Sequence[str]


def families(sources: Sources, seed: int) -> Iterator[tuple[str, ...]]:
    """Without end: `FAMILY` sentences each, none of them of a subject that is held out."""
    rng = random.Random(seed)
    known = [subject for name, subject in sources.subjects.items() if name not in (*HELD_OUT, WORDS_IN_USE)]
    weights = [len(subject.meanings) for subject in known]
    frames = sources.subjects[WORDS_IN_USE]
    while True:
        kind = rng.random()
        if kind < WORDS_SHARE:
            family = _family(frames, sources.words, rng)
        elif kind < WORDS_SHARE + PROSE_SHARE and sources.prose:
            family = _prose(sources.prose, rng)
        else:
            family = _family(rng.choices(known, weights)[0], sources.words, rng)
        yield tuple(_distorted(text, family, rng) for text in family)


def draw_any(words: Sequence[str], count: int, rng: random.Random) -> list[str]:
    """`count` different words, frequent ones more often."""
    chosen: dict[str, None] = {}
    while len(chosen) < count:
        chosen[words[int(len(words) * rng.random() ** RARER)]] = None
    return list(chosen)


def _family(subject: Subject, words: Sequence[str], rng: random.Random) -> tuple[str, ...]:
    meaning = rng.choice(subject.meanings)
    first = fill(meaning, _with_words(subject, words, rng), rng)
    other = fill(meaning, _with_words(subject, words, rng), rng)
    ways = rng.sample(range(len(meaning)), min(2, len(meaning)))
    return first[ways[0]], first[ways[-1]], other[rng.choice(ways)]


def _with_words(subject: Subject, words: Sequence[str], rng: random.Random) -> Mapping[str, Sequence[str]]:
    if subject.name != WORDS_IN_USE:
        return subject.lists
    return {**subject.lists, ANY_WORD: draw_any(words, 6, rng)}


def _prose(prose: Sequence[str], rng: random.Random) -> tuple[str, ...]:
    """A sentence, a part of it, and it with up to two of those after it, as passages are."""
    place = rng.randrange(len(prose))
    whole = prose[place].split()
    start = rng.randrange(max(1, len(whole) - 5))
    part = whole[start : start + rng.randint(3, 10)]
    return prose[place], " ".join(part), " ".join(prose[place : place + rng.choice((1, 1, 2, 3))])


def _distorted(text: str, family: Sequence[str], rng: random.Random) -> str:
    """As people type: wrapped in other words, two at once, without the end, with a slip."""
    chance = rng.random()
    if chance < WRAPPED_SHARE:
        text = rng.choice(BEFORE) + text if rng.random() < 0.6 else text + rng.choice(AFTER)
    elif chance < WRAPPED_SHARE + JOINED_SHARE:
        others = [other for other in family if other != text]
        text = f"{text} {rng.choice(others)}" if others else text
    elif chance < WRAPPED_SHARE + JOINED_SHARE + BARE_SHARE:
        text = text.rstrip(".?!")
    return slip(text, rng) if rng.random() < TYPO_SHARE else text


def slip(text: str, rng: random.Random) -> str:
    """`text` with one letter left out, doubled, or exchanged with the next."""
    if len(text) < 5:
        return text
    place = rng.randrange(1, len(text) - 1)
    left, letter, right = text[:place], text[place], text[place + 1 :]
    return rng.choice((left + right, left + letter + letter + right, left + right[:1] + letter + right[1:]))
