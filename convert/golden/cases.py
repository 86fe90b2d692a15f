"""Cases of a golden set, made by asking the artifact itself: what it answers here, a device must answer too.

That shows that a device computes what was computed here, not that the answers are right: cases with right answers are
written by hand (`--cases`). The format is that of agent/updates/trial/golden.py.
"""

from __future__ import annotations

import math
import struct
from base64 import b64encode
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import msgspec
import numpy as np

from agent.errors import ArtifactError, RequestError
from agent.runtime.wire.embedding import Embed, Embedded
from agent.runtime.wire.generation import Delta, Generate, Sampling
from agent.runtime.wire.messages import Request
from agent.runtime.wire.transcription import Transcribe
from agent.store.manifest import Manifest
from convert.quality.recordings import find_recordings, read_audio
from convert.quality.vectors import built_in_sentences
from convert.quality.wer import word_errors
from convert.worker import Worker, text_of

FILE: Final = "golden.jsonl"
FOLDER: Final = "golden"
LONGEST_S: Final = 30.0
MOST_CASES: Final = 500
MOST_RECORDINGS: Final = 20
SENTENCES: Final = 16
ANSWER_TOKENS: Final = 8
TEXT_CHARACTERS: Final = 2000
CASES_LIMIT_BYTES: Final = 8 * 1024 * 1024

LEAST_EXACT: Final = 0.6
"""Of answers that were recorded here: another processor rounds otherwise, and a near tie turns out the other way."""
PERPLEXITY_FACTOR: Final = 1.1
"""Rounding moves it by less than a hundredth; what is broken moves it by far more."""
WER_POINTS: Final = 5.0

_PROMPTS: Final = (
    "What is the capital of France?",
    "Write the numbers from one to five.",
    "What color is the sky on a clear day?",
    "Name an animal that can fly.",
    "What is two plus two?",
    "Say hello.",
    "Which month comes after March?",
    "Is fire hot or cold?",
)
_TEXT: Final = (
    "The sun had gone down behind the hills, and the first lights came on in the village. An old man walked slowly "
    "along the road with a small dog at his side. He stopped at the bridge, looked at the water for a while, and then "
    "went home, where his daughter had made soup for them and told the children a story about the sea."
)


class Golden:
    """What a golden set is made of: `cases` for its lines, `gates` for the manifest, `files` to go beside it."""

    def __init__(self) -> None:
        self.cases: list[dict[str, Any]] = []
        self.gates: dict[str, Any] = {"golden": FILE}
        self.files: dict[str, bytes] = {}

    def lines(self) -> bytes:
        return b"".join(msgspec.json.encode(case) + b"\n" for case in self.cases)


def make_golden(
    worker: Worker,
    manifest: Manifest,
    *,
    own: Sequence[dict[str, Any]] = (),
    text: Path | None = None,
    recordings: Path | None = None,
) -> Golden:
    """`own` are the user's cases, taken as they are. Raises `RequestError` for material that cannot be used."""
    golden = Golden()
    golden.cases += own
    if manifest.task == "generate":
        _add_answers(golden, worker, recorded=not own)
        _add_texts(golden, worker, text)
    elif manifest.task == "embed":
        _add_vectors(golden, worker, manifest)
    elif recordings is not None:
        _add_recordings(golden, worker, recordings)
    elif not own:
        raise RequestError(
            "There is nothing to ask a model that transcribes.",
            hint="Give --recordings DIR, a folder of audio files and transcripts.json ({file name: what is said}).",
        )
    if len(golden.cases) > MOST_CASES:
        raise RequestError(f"The golden set has {len(golden.cases)} cases; {MOST_CASES} are the most.")
    return golden


def read_cases(path: Path) -> list[dict[str, Any]]:
    """The user's cases: one JSON object a line, each with a `kind`. Raises `RequestError` naming the line."""
    try:
        if path.stat().st_size > CASES_LIMIT_BYTES:
            raise RequestError(f"{path} is larger than {CASES_LIMIT_BYTES} bytes.")
        lines = path.read_bytes().splitlines()
    except OSError as error:
        raise RequestError(f"{path} cannot be read: {error.strerror}.") from None
    cases = []
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        try:
            case = msgspec.json.decode(line, type=dict[str, Any])
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            raise RequestError(f"{path}, line {number}: {error}.") from None
        if not isinstance(case.get("kind"), str):
            raise RequestError(f"{path}, line {number}: it has no kind.", hint="docs/golden-sets.md lists them.")
        cases.append(case)
    return cases


def _add_answers(golden: Golden, worker: Worker, *, recorded: bool) -> None:
    if not recorded:
        return
    for prompt in _PROMPTS:
        asked: dict[str, Any] = (
            {"messages": [{"role": "user", "content": prompt}]}
            if worker.loaded.has_chat_template
            else {"prompt": prompt}
        )
        answer = text_of(worker.ask(_greedy(**asked, max_tokens=ANSWER_TOKENS)))
        golden.cases.append({"kind": "exact", **asked, "max_tokens": ANSWER_TOKENS, "answers": [answer]})
    golden.gates["least_exact"] = LEAST_EXACT


def _add_texts(golden: Golden, worker: Worker, file: Path | None) -> None:
    texts = [_TEXT] if file is None else _paragraphs(file)
    logprobs: list[float] = []
    for text in texts:
        events = worker.ask(_greedy(prompt=text, max_tokens=1, echo=True, logprobs=0))
        entries = [t for e in events if isinstance(e, Delta) and not e.tokens for t in e.logprobs or ()]
        logprobs += [entry.logprob for entry in entries[1:]]
        golden.cases.append({"kind": "perplexity", "text": text})
    if not logprobs or not all(map(math.isfinite, logprobs)):
        raise ArtifactError("The model gives the text no finite probability: it is damaged, or its conversion is.")
    perplexity = math.exp(-math.fsum(logprobs) / len(logprobs))
    golden.gates["most_perplexity"] = round(perplexity * PERPLEXITY_FACTOR, 3)


def _add_vectors(golden: Golden, worker: Worker, manifest: Manifest) -> None:
    prompts = manifest.metadata.get("prompts")
    names = sorted(prompts) if isinstance(prompts, dict) else []
    for number, sentence in enumerate(built_in_sentences()[:SENTENCES]):
        name = names[number % len(names)] if names else None
        request: Request = Embed(inputs=(sentence,), prompt_name=name)
        (event,) = (event for event in worker.ask(request) if isinstance(event, Embedded))
        vector = np.frombuffer(event.vectors, dtype="<f4")
        scaled = (vector / max(1e-12, float(np.linalg.norm(vector)))).astype("<f2")
        case = {"kind": "cosine", "text": sentence, "vector": b64encode(scaled.tobytes()).decode()}
        golden.cases.append(case | ({"prompt_name": name} if name else {}))
    golden.gates |= {"least_mean_cosine": 0.99, "least_worst_cosine": 0.97}


def _add_recordings(golden: Golden, worker: Worker, folder: Path) -> None:
    pairs: list[tuple[str, str]] = []
    for number, recording in enumerate(find_recordings(folder)[:MOST_RECORDINGS], 1):
        samples = read_audio(recording.path, LONGEST_S)
        name = f"{FOLDER}/{number:02d}.wav"
        golden.files[name] = _wav(np.clip(np.rint(samples * 32768), -32768, 32767).astype("<i2").tobytes())
        heard = worker.ask(Transcribe(audio=samples.astype("<f4").tobytes(), temperatures=(0.0,)))
        pairs.append((recording.text, text_of(heard)))
        golden.cases.append({"kind": "wer", "audio": name, "text": recording.text})
    golden.gates["most_wer_percent"] = round(word_errors(pairs).percent + WER_POINTS, 2)


def _greedy(**fields: Any) -> Generate:
    messages = fields.pop("messages", None)
    return Generate(
        messages=None if messages is None else tuple(messages),
        sampling=Sampling(temperature=0),
        cache_prompt=False,
        **fields,
    )


def _paragraphs(file: Path) -> list[str]:
    """The first paragraphs of a UTF-8 text, a few hundred tokens each at most."""
    try:
        text = file.read_text("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8"
        raise RequestError(f"{file} cannot be read: {reason}.") from None
    found = [" ".join(part.split())[:TEXT_CHARACTERS] for part in text.split("\n\n")]
    texts = [part for part in found if part][:SENTENCES]
    if not texts:
        raise RequestError(f"{file} has no text in it.")
    return texts


def _wav(data: bytes) -> bytes:
    """16-bit mono samples of 16 kHz as a WAV file: a header of 44 bytes, always the same, and the samples."""
    head = struct.pack("<4sI4s4sIHHIIHH4sI", b"RIFF", 36 + len(data), b"WAVE", b"fmt ", 16, 1, 1, 16_000, 32_000, 2, 16,
                       b"data", len(data))  # fmt: skip
    return head + data
