"""Hypotheses as words: splitting, agreement between two passes, and what is no speech at all. Pure."""

from __future__ import annotations

import re
from collections.abc import Sequence

from agent.runtime.wire.transcription import Segment, Transcribed

Words = tuple[str, ...]
"""Pieces of text that join to the whole: a word has the space before it. Scripts without spaces: one sign each."""

# Han, kana, Thai, Lao, Khmer, Myanmar: written without spaces between words.
_UNSPACED = r"\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff"
_WORD = re.compile(rf"\s*(?:[{_UNSPACED}]|[^\s{_UNSPACED}]+)")
_NOT_LETTERS = re.compile(r"[\W_]+")
# "[BLANK_AUDIO]", "(music)", "*coughs*", "♪": what a model writes where nobody speaks.
_ANNOTATION = re.compile(r"\[[^\]]*\]|\([^)]*\)|\*[^*]*\*|[♪♫]+")

NO_SPEECH_LOGPROB = -1.0
"""openai/whisper `transcribe.py`: a segment is silent where no_speech_prob is over its limit and avg_logprob under
this."""
COMPRESSION_RATIO_LIMIT = 2.4
REPEATS_LIMIT = 4
REPEATED_WORDS = 5
"""A phrase of at most so many words that is said `REPEATS_LIMIT` times in a row is the model's, not the speaker's."""
LONE_WORD_REPEATS = 6
"""A single word may be repeated more often ("no no no no", digits)."""


def split(text: str) -> Words:
    return tuple(_WORD.findall(text.strip()))


def join(words: Sequence[str]) -> str:
    return "".join(words).strip()


def key(word: str) -> str:
    """What two passes must agree on: letters and digits, whatever the case and the punctuation."""
    return _NOT_LETTERS.sub("", word).casefold()


def shared_prefix(one: Words, other: Words) -> int:
    """How many words are the same from the start."""
    count = 0
    for left, right in zip(one, other, strict=False):
        if key(left) != key(right):
            break
        count += 1
    return count


def spoken(transcribed: Transcribed, *, no_speech_limit: float = 0.6) -> tuple[Segment, ...]:
    """The segments that are speech: not empty, not silent, not an annotation, not one phrase over and over."""
    return tuple(segment for segment in transcribed.segments if _is_speech(segment, no_speech_limit))


def words_of(segments: Sequence[Segment]) -> Words:
    return split(" ".join(segment.text.strip() for segment in segments))


def repeats(words: Sequence[str]) -> bool:
    """Whether a short phrase is said many times in a row."""
    keys = [key(word) for word in words]
    for length in range(1, REPEATED_WORDS + 1):
        limit = LONE_WORD_REPEATS if length == 1 else REPEATS_LIMIT
        run = 0
        for index in range(length, len(keys)):
            run = run + 1 if keys[index] == keys[index - length] else 0
            if run >= length * (limit - 1):
                return True
    return False


def _is_speech(segment: Segment, no_speech_limit: float) -> bool:
    if segment.no_speech_prob > no_speech_limit and segment.avg_logprob < NO_SPEECH_LOGPROB:
        return False
    if segment.compression_ratio > COMPRESSION_RATIO_LIMIT:
        return False
    words = split(_ANNOTATION.sub(" ", segment.text))
    return any(key(word) for word in words) and not repeats(words)


def continued(committed: Words, words: Words) -> Words:
    """`words` as a continuation of `committed`, which never changes: what follows the part of `words` that is most
    like it (least edit distance; of equals the longest)."""
    if not committed:
        return words
    agreed = shared_prefix(committed, words)
    if agreed == len(committed):
        return committed + words[agreed:]
    costs = _distances([key(word) for word in committed], [key(word) for word in words])
    least = min(costs)
    return committed + words[max(index for index, cost in enumerate(costs) if cost == least) :]


def _distances(left: Sequence[str], right: Sequence[str]) -> list[int]:
    """Edit distances, in words, of all of `left` to each prefix of `right`."""
    row = list(range(len(right) + 1))
    for i, word in enumerate(left, 1):
        before, row[0] = row[0], i
        for j, other in enumerate(right, 1):
            before, row[j] = row[j], min(row[j] + 1, row[j - 1] + 1, before + (word != other))
    return row
