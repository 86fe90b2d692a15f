"""When to look at speech that is still going on, and what of it is settled. Values in, values out; time is an argument.

A hypothesis is committed as far as passes agree (local agreement; Macháček et al. 2023, "Turning Whisper into real-time
transcription system"), less the newest pass's last word, which the end of the sound may have cut. Two passes in a row
are not enough where they are quick, and one that heard less than a second of speech says nothing at all: of "Three" or
"How" a model makes a whole sentence, and the same wrong one twice.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

from agent.speech.hypothesis import Words, continued, repeats, shared_prefix
from agent.speech.pcm import samples_in, seconds

PassKind = Literal["partial", "early"]
"""An `early` pass covers all that was said, at a pause: it is the final one if the speaker does not go on."""


@dataclass(frozen=True, kw_only=True)
class Partials:
    """`enabled` is the profile's word. A pass must cover `step_s` of new sound, or as much as the last pass took if
    that is more. A pass that would take longer than `slowest_pass_s` is not worth starting.

    The early pass starts in time to be done after `ready_silence_s`, just before the segment ends, but not before
    `early_silence_s` nor after `late_silence_s` of silence: the more of the silence it hears, the better its text.

    Words are committed when all passes over the last `settle_s` of sound, and the one before, agree on them; passes
    over less than `settling_audio_s`, the preroll included, do not count. Of 60 spoken commands at four offsets
    (benchmarks.speech.live_replay): live WER 4.6%, as that of the final passes alone, 58% of the words committed before
    them; 7.5% and 82% where two passes in a row committed words, 4.6% and 46% at 1.2 s.
    """

    enabled: bool = True
    step_s: float = 0.4
    least_audio_s: float = 0.8
    slowest_pass_s: float = 1.5
    early_silence_s: float = 0.22
    late_silence_s: float = 0.38
    ready_silence_s: float = 0.45
    settle_s: float = 0.8
    settling_audio_s: float = 1.4

    def __post_init__(self) -> None:
        if not 0 < self.early_silence_s <= self.late_silence_s <= self.ready_silence_s:
            raise ValueError("silences: 0 < early_silence_s <= late_silence_s <= ready_silence_s")

    def pause_s(self, expected_s: float) -> float:
        """How much silence starts an early pass that will take `expected_s`."""
        return max(self.early_silence_s, min(self.late_silence_s, self.ready_silence_s - expected_s))


@dataclass(frozen=True)
class Pace:
    """The last pass: how much sound it saw and how long it took, in seconds. `None`: none was measured yet."""

    audio_s: float | None = None
    took_s: float = 0.0

    def expected_s(self, audio_s: float) -> float:
        """What a pass over `audio_s` will take: never less than the last one, and in proportion for longer sound."""
        if self.audio_s is None:
            return 0.0
        return self.took_s * max(1.0, audio_s / max(self.audio_s, 0.1))

    @property
    def real_time_factor(self) -> float | None:
        return None if self.audio_s is None else self.took_s / max(self.audio_s, 0.1)


@dataclass(frozen=True, slots=True)
class Utterance:
    """A segment that is still growing; positions in samples.

    `covered_to` is what the last pass saw, `said_to` the last voiced sample that it saw, and `early_to` the last
    voiced one that an early pass saw. `passes` are those that may still settle words, the oldest first: what each saw,
    and the words it came to. Before `not_before` no pass may start: the engine refused one.
    """

    id: int
    start: int
    covered_to: int
    said_to: int
    early_to: int
    hypothesis: Words = ()
    committed: Words = ()
    passes: tuple[tuple[int, Words], ...] = ()
    shown: bool = False
    not_before: float = float("-inf")

    @property
    def text_words(self) -> Words:
        """Committed words, then what the last hypothesis adds."""
        return continued(self.committed, self.hypothesis) if self.hypothesis else self.committed


def begin(id: int, start: int) -> Utterance:
    return Utterance(id=id, start=start, covered_to=start, said_to=start, early_to=start)


def next_pass(
    utterance: Utterance, pace: Pace, settings: Partials, *, heard_to: int, voiced_end: int, now: float
) -> PassKind | None:
    """Whether to look at the open segment now. `heard_to` is the newest sample, `voiced_end` the last voiced one."""
    if not settings.enabled or now < utterance.not_before:
        return None
    audio_s = seconds(heard_to - utterance.start)
    expected_s = pace.expected_s(audio_s)
    if expected_s > settings.slowest_pass_s:
        return None
    silence_s, pause_s = seconds(heard_to - voiced_end), settings.pause_s(expected_s)
    if silence_s >= pause_s:
        return "early" if voiced_end > utterance.early_to else None
    if silence_s > 0 and silence_s + expected_s > pause_s:
        return None  # it would hold up the early pass
    new_s = seconds(heard_to - utterance.covered_to)
    if voiced_end <= utterance.said_to or audio_s < settings.least_audio_s or new_s < max(settings.step_s, pace.took_s):
        return None
    return "partial"


def looked(
    utterance: Utterance, words: Words, kind: PassKind, settings: Partials, *, covered_to: int, said_to: int
) -> Utterance:
    """After a pass that came to `words`. An empty or repeating hypothesis changes nothing but what was covered."""
    early_to = said_to if kind == "early" else utterance.early_to
    seen = replace(utterance, covered_to=covered_to, said_to=said_to, early_to=early_to)
    if not words or repeats(words):
        return seen
    if covered_to - utterance.start < samples_in(settings.settling_audio_s):
        return replace(seen, hypothesis=words)
    newest, settle = continued(utterance.committed, words), samples_in(settings.settle_s)
    before = [entry for entry in utterance.passes if covered_to - entry[0] >= settle][-1:]
    within = [entry for entry in utterance.passes if covered_to - entry[0] < settle]
    agreed = min((shared_prefix(earlier, newest) for _, earlier in before + within), default=0) if before else 0
    settled = max(len(utterance.committed), min(agreed, len(newest) - 1))
    passes = (*before, *within, (covered_to, newest))
    return replace(seen, hypothesis=words, committed=newest[:settled], passes=passes)


def refused(utterance: Utterance, now: float, wait_s: float) -> Utterance:
    """The engine had no room for a pass."""
    return replace(utterance, not_before=now + wait_s)


def finished(utterance: Utterance, words: Words) -> Words:
    """The final words: those of the last pass, after what is committed. None but the committed where it saw no
    speech, or one phrase over and over."""
    if not words or repeats(words):
        return utterance.committed
    return continued(utterance.committed, words)
