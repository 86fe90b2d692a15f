"""The fields of `/v1/audio/transcriptions` and `/v1/audio/translations`, and what they become for the runtime."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated, Any, ClassVar, Literal

from msgspec import Meta

from agent.api.decode import Body, checked, wrong
from agent.api.generation_body import Seconds
from agent.errors import RequestError
from agent.runtime.wire.transcription import Transcribe
from agent.speech.languages import code_of

FILE = "file"
LADDER_STEP = 0.2
"""openai/whisper `transcribe.py`, temperature_increment_on_fallback."""

Format = Literal["json", "text", "srt", "vtt", "verbose_json"]
Temperature = Annotated[float, Meta(ge=0, le=1, description="a number from 0 to 1")]
BeamSize = Annotated[int, Meta(ge=1, le=5, description="an integer from 1 to 5")]
Truth = Annotated[bool, Meta(description="true or false")]
ResponseFormat = Annotated[Format, Meta(description="json, text, srt, vtt or verbose_json")]
Granularity = Annotated[Literal["word", "segment"], Meta(description="word or segment")]


class TranscriptionForm(Body, kw_only=True):
    IGNORED: ClassVar[frozenset[str]] = frozenset({"chunking_strategy", "user"})
    UNSUPPORTED: ClassVar[dict[str, str]] = {
        "include": "verbose_json has the mean log-probability of each segment.",
        "languages": "Say one `language`, or leave it out.",
        "known_speaker_names": "Speakers are not told apart.",
        "known_speaker_references": "Speakers are not told apart.",
    }
    MEANT: ClassVar[dict[str, str]] = {
        "audio": FILE,
        "audio_file": FILE,
        "files": FILE,
        "upload": FILE,
        "lang": "language",
        "format": "response_format",
        "output_format": "response_format",
        "initial_prompt": "prompt",
        "granularity": "timestamp_granularities",
        "num_beams": "beam_size",
        "vad": "vad_filter",
    }
    LISTS: ClassVar[frozenset[str]] = frozenset(
        {"timestamp_granularities", "keywords", "include", "languages", "known_speaker_names"}
        | {"known_speaker_references"}
    )

    model: str | None = None
    language: str | None = None
    prompt: str = ""
    hotwords: str = ""
    keywords: tuple[str, ...] = ()
    temperature: Temperature = 0.0
    response_format: ResponseFormat = "json"
    timestamp_granularities: tuple[Granularity, ...] = ()
    stream: Truth = False
    beam_size: BeamSize = 1
    vad_filter: Truth = True
    priority: str | None = None
    deadline_s: Seconds | None = None
    timeout: Seconds | None = None

    @property
    def wants_words(self) -> bool:
        return "word" in self.timestamp_granularities

    @property
    def wants_segments(self) -> bool:
        """OpenAI's default: segments, unless only words were asked for."""
        return "segment" in self.timestamp_granularities or not self.timestamp_granularities

    def to_transcribe(self, task: Literal["transcribe", "translate"]) -> Transcribe:
        """The pattern of the file's pieces. Raises `RequestError` for what no single field's type could say."""
        if self.timestamp_granularities and self.response_format != "verbose_json":
            raise RequestError(
                f"`timestamp_granularities` needs verbose_json; `response_format` is {self.response_format}.",
                hint="Set response_format=verbose_json, or leave it out.",
                param="timestamp_granularities",
            )
        if self.stream and self.response_format in ("srt", "vtt"):
            raise wrong("response_format", self.response_format, "json, text or verbose_json where `stream` is true")
        return Transcribe(
            audio=b"",
            language=None if self.language is None else code_of(self.language),
            task=task,
            prompt=self.prompt,
            hotwords=", ".join(word for word in (self.hotwords.strip(), *self.keywords) if word.strip()),
            timestamps="word" if self.wants_words else "segment",
            temperatures=ladder(self.temperature),
            beam_size=self.beam_size,
        )


def read_form(fields: Mapping[str, Sequence[str]]) -> TranscriptionForm:
    """What an upload said besides its file; an empty field is one left out. Raises `RequestError`."""
    said: dict[str, Any] = {}
    for name, values in fields.items():
        values = [value for value in values if value]
        if name in TranscriptionForm.LISTS:
            said[name] = values or None
        elif len(values) > 1:
            raise RequestError(f"`{name}` is there {len(values)} times.", hint="Send it once.", param=name)
        else:
            said[name] = values[0] if values else None
    known = {*TranscriptionForm.__struct_fields__}
    plain = {name: value for name, value in said.items() if value is not None or name not in known}
    return checked(plain, TranscriptionForm, from_text=True)


def ladder(first: float) -> tuple[float, ...]:
    """The temperatures to try in turn while the outcome is poor: from `first` up to 1."""
    steps = max(0, round((1.0 - first) / LADDER_STEP - 0.49))
    return tuple(round(first + LADDER_STEP * step, 4) for step in range(steps + 1))
