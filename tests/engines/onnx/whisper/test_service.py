"""A Whisper as a worker serves it: requests checked, in turn, cancelled between steps, one answer for each."""

from __future__ import annotations

import contextlib
import queue
import shutil
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest

from agent.engines.onnx.whisper.engine import WhisperEngine
from agent.engines.onnx.whisper.memory import predict_memory
from agent.engines.onnx.whisper_service import WhisperService, predict
from agent.errors import EngineError, ModelLoadError, RequestError
from agent.runtime.wire.control import Cancel, SetPace, SetThreads
from agent.runtime.wire.embedding import Embed
from agent.runtime.wire.errors import Failed
from agent.runtime.wire.generation import Finished
from agent.runtime.wire.messages import FromWorker
from agent.runtime.wire.options import OnnxOptions
from agent.runtime.wire.transcription import Started, Transcribe, Transcribed
from tests.engines.onnx.whisper.made_audio import glide
from tests.engines.onnx.whisper.merged_graph import write_import
from tests.engines.onnx.whisper.tiny import CAPACITY

OPTIONS = OnnxOptions(slots=4, threads=1)
AUDIO = glide(12_000).astype("<f4").tobytes()
WAIT_S = 30


class StopError(Exception):
    """Ends the loop of an engine, which otherwise ends with its process."""


class Served:
    """A service whose loop runs in a thread, as in a worker."""

    def __init__(self, folder: Path) -> None:
        self.sent: queue.Queue[FromWorker] = queue.Queue()
        self.started: list[Started] = []
        self.service = WhisperService(folder, OPTIONS, predict(folder, OPTIONS), self._emit, floor_s=0.2, margin_s=0.1)
        self.held = threading.Event()
        self.go_on = threading.Event()
        self.go_on.set()
        self._stopping = False
        self._hold_at_run(self.service._engine)
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _hold_at_run(self, engine: WhisperEngine) -> None:
        """The engine waits before its next run of a graph while `go_on` is not set."""
        transcriber = engine._transcriber
        before_run = transcriber._before_run

        def hold() -> None:
            self.held.set()
            assert self.go_on.wait(WAIT_S)
            before_run()

        transcriber._before_run = hold
        transcriber._decoder._before_run = hold

    def _emit(self, messages: list[FromWorker]) -> None:
        for message in messages:
            if isinstance(message, Started):
                self.started.append(message)
            else:
                self.sent.put(message)
        if self._stopping:
            raise StopError

    def _run(self) -> None:
        with contextlib.suppress(StopError):
            self.service.run()

    def submit(self, id: int, **changes: Any) -> None:
        options = {"audio": AUDIO, "language": "en", "temperatures": (0.0, 0.5)}
        self.service.submit(Transcribe(id=id, **options | changes), time.monotonic())

    def answer(self) -> FromWorker:
        return self.sent.get(timeout=WAIT_S)

    def close(self) -> None:
        self._stopping = True
        self.go_on.set()
        self.submit(9_999, max_tokens=1)
        self._thread.join(WAIT_S)


@pytest.fixture
def served(artifacts: dict[str, Path]) -> Iterator[Served]:
    made = Served(artifacts["fp32"])
    yield made
    made.close()


def test_it_says_what_was_loaded(served: Served) -> None:
    loaded = served.service.loaded
    assert (loaded.context_tokens, loaded.train_context_tokens) == (CAPACITY, CAPACITY)
    assert (loaded.slots, loaded.vocab_tokens, loaded.embedding_dim) == (4, 224, 0)
    assert loaded.memory.resident_bytes > 10**6
    assert loaded.load_s > 0


def test_each_request_has_one_answer_in_the_order_of_arrival(served: Served) -> None:
    for id in range(1, 6):
        served.submit(id, timestamps="segment")
    answers = [served.answer() for _ in range(5)]
    assert [answer.id for answer in answers if isinstance(answer, Transcribed)] == [1, 2, 3, 4, 5]
    first = answers[0]
    assert isinstance(first, Transcribed)
    assert first.audio_s == 0.75
    assert first.encode_s > 0
    assert first.decode_s > 0
    assert served.sent.empty()


def test_a_request_says_when_its_turn_came_and_when_it_was_done(served: Served) -> None:
    served.go_on.clear()
    before_s = time.monotonic()
    served.submit(1)
    assert served.held.wait(WAIT_S)
    served.submit(2)
    after_s = time.monotonic()
    served.go_on.set()
    first, second = served.answer(), served.answer()
    assert isinstance(first, Transcribed)
    assert isinstance(second, Transcribed)
    assert first.ended_s is not None
    assert second.ended_s is not None
    assert [one.id for one in served.started] == [1, 2]
    assert before_s <= served.started[0].at_s <= after_s < first.ended_s
    assert first.ended_s <= served.started[1].at_s < second.ended_s  # and not when it came


def test_a_live_pass_goes_before_a_waiting_file(served: Served) -> None:
    served.go_on.clear()
    served.submit(1)
    assert served.held.wait(WAIT_S)
    served.submit(2)
    served.submit(3, temperatures=(0.0,))
    served.go_on.set()
    assert [served.answer().id for _ in range(3)] == [1, 3, 2]  # type: ignore[union-attr]


def test_what_runs_is_cancelled_before_its_next_step_and_confirmed_once(served: Served) -> None:
    served.go_on.clear()
    served.submit(1)
    served.submit(2)
    assert served.held.wait(WAIT_S)
    served.service.cancel(Cancel(1))
    served.service.cancel(Cancel(1))
    served.go_on.set()
    assert served.answer() == Finished(id=1, reason="cancelled")
    second = served.answer()
    assert isinstance(second, Transcribed)
    assert second.id == 2
    assert served.sent.empty()


def test_what_waits_is_cancelled_and_confirmed(served: Served) -> None:
    served.go_on.clear()
    for id in (1, 2, 3):
        served.submit(id)
    assert served.held.wait(WAIT_S)
    served.service.cancel(Cancel(2))
    served.go_on.set()
    assert served.answer() == Finished(id=2, reason="cancelled")
    assert [served.answer().id for _ in range(2)] == [1, 3]  # type: ignore[union-attr]
    assert [one.id for one in served.started] == [1, 3]


def test_what_is_done_or_unknown_cannot_be_cancelled(served: Served) -> None:
    served.submit(1)
    assert isinstance(served.answer(), Transcribed)
    served.service.cancel(Cancel(1))
    served.service.cancel(Cancel(77))
    served.submit(2)
    second = served.answer()
    assert isinstance(second, Transcribed)
    assert second.id == 2


def test_a_hang_shows_in_the_age_of_a_step_and_idling_does_not(served: Served) -> None:
    assert served.service.pong(1).step_age_s == 0
    served.go_on.clear()
    served.submit(1)
    assert served.held.wait(WAIT_S)
    time.sleep(0.05)
    pong = served.service.pong(2)
    assert (pong.seq, pong.active_sequences, pong.threads) == (2, 1, 1)
    assert pong.step_age_s >= 0.05
    served.go_on.set()
    served.answer()
    served.submit(2)
    served.answer()
    deadline = time.monotonic() + WAIT_S
    while served.service.pong(3).step_age_s and time.monotonic() < deadline:
        time.sleep(0.001)
    assert served.service.pong(3).step_age_s == 0
    served.service.set_threads(SetThreads(4, 4))  # has no effect, and no error


def test_a_failure_while_running_is_an_answer_and_the_next_request_runs(
    served: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = served.service._model
    encode = model.encode

    def fail(*_: Any) -> Any:
        raise EngineError("encoder.onnx failed while it ran.")

    served.go_on.clear()
    served.submit(1)
    assert served.held.wait(WAIT_S)
    monkeypatch.setattr(model, "encode", fail)
    served.go_on.set()
    failed = served.answer()
    assert isinstance(failed, Failed)
    assert (failed.id, failed.error.code) == (1, "engine_error")
    monkeypatch.setattr(model, "encode", encode)
    served.submit(2)
    assert isinstance(served.answer(), Transcribed)


def samples(*values: float) -> bytes:
    return np.array(values, dtype="<f4").tobytes()


@pytest.mark.parametrize(
    ("changes", "param", "says"),
    [
        ({"audio": b""}, "audio", "empty"),
        ({"audio": b"abc"}, "audio", "3 bytes"),
        ({"audio": samples(0.0, float("nan"))}, "audio", "not finite"),
        ({"audio": samples(float("inf"))}, "audio", "not finite"),
        ({"audio": samples(0.5, 12_000.0)}, "audio", "12000"),
        ({"audio": bytes(4 * 16_001)}, "audio", "1.0 s long"),
        ({"language": "xx"}, "language", "xx"),
        ({"temperatures": ()}, "temperature", "0 temperatures"),
        ({"temperatures": (0.0,) * 11}, "temperature", "11 temperatures"),
        ({"temperatures": (0.0, float("nan"))}, "temperature", "from 0"),
        ({"temperatures": (-0.1,)}, "temperature", "from 0"),
        ({"temperatures": (2.1,)}, "temperature", "from 0"),
        ({"beam_size": 0}, "beam_size", "0"),
        ({"beam_size": 6}, "beam_size", "1 to 5"),
        ({"max_tokens": 0}, "max_tokens", "0"),
    ],
)
def test_what_cannot_be_done_is_refused_before_it_waits(
    served: Served, changes: dict[str, Any], param: str, says: str
) -> None:
    with pytest.raises(RequestError, match=says) as caught:
        served.submit(1, **changes)
    assert caught.value.param == param
    assert served.sent.empty()


def test_it_transcribes_and_nothing_else(served: Served) -> None:
    with pytest.raises(RequestError, match="transcribes"):
        served.service.submit(Embed(inputs=("a",)), 0.0)


def test_an_english_model_takes_no_other_language_and_an_import_no_words(tmp_path: Path) -> None:
    folder = write_import(tmp_path, is_multilingual=False)
    service = WhisperService(folder, OPTIONS, predict(folder, OPTIONS), lambda _: None)
    for changes, param in (
        ({"language": "de"}, "language"),
        ({"task": "translate"}, "task"),
        ({"timestamps": "word"}, "timestamps"),
    ):
        with pytest.raises(RequestError) as caught:
            service.submit(msgspec.structs.replace(Transcribe(audio=AUDIO), **changes), 0.0)
        assert caught.value.param == param
    service.submit(Transcribe(audio=AUDIO, timestamps="segment"), 0.0)


@pytest.mark.parametrize(
    ("file", "content"),
    [
        ("whisper.json", None),
        ("whisper.json", b"{}"),
        ("decoder.onnx", b"x"),
        ("mel_filters.npy", b""),
        ("tokenizer.json", None),
    ],
)
def test_a_broken_folder_is_a_model_that_does_not_load(
    artifacts: dict[str, Path], tmp_path: Path, file: str, content: bytes | None
) -> None:
    folder = shutil.copytree(artifacts["fp32"], tmp_path / "copy")
    (folder / file).unlink()
    if content is not None:
        (folder / file).write_bytes(content)
    with pytest.raises(ModelLoadError, match=file.replace(".", r"\.")):
        WhisperService(folder, OPTIONS, predict(folder, OPTIONS), lambda _: None)


def test_memory_is_predicted_from_files_and_shape(artifacts: dict[str, Path], tmp_path: Path) -> None:
    memory = predict_memory(artifacts["fp32"])
    graphs = [path for path in artifacts["fp32"].iterdir() if ".onnx" in path.name]
    assert memory.weights_bytes == sum(path.stat().st_size for path in graphs)
    # 2 layers of keys and values of width 48, float32: 5 texts of half of 24 tokens, and 50 positions of audio once.
    assert memory.kv_bytes == 2 * 2 * 48 * 4 * (5 * 12 + 50)
    imported = predict_memory(write_import(tmp_path))
    assert imported.kv_bytes == 2 * 2 * 48 * 4 * (5 * 12 + 5 * 50)
    assert imported.weights_bytes == sum(path.stat().st_size for path in (tmp_path / "onnx").iterdir())


def test_between_two_runs_it_rests_as_long_as_it_is_told_and_a_cancelled_request_ends_the_rest(served: Served) -> None:
    served.submit(1, temperatures=(0.0,), max_tokens=4)
    assert isinstance(served.answer(), Transcribed)
    served.service.set_pace(SetPace(1e6, 1))
    served.submit(2, temperatures=(0.0,), max_tokens=4)
    time.sleep(0.1)  # far into the rest after the encoder's run
    assert served.sent.empty()
    pong = served.service.pong(1)
    assert (pong.active_sequences, pong.step_age_s) == (1, 0.0)
    served.service.cancel(Cancel(2))
    assert served.answer() == Finished(id=2, reason="cancelled")
    served.submit(3, temperatures=(0.0,), max_tokens=4)
    served.service.set_pace(SetPace(0.0, 1))
    third = served.answer()
    assert isinstance(third, Transcribed)
    assert third.id == 3
