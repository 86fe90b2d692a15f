"""How much a GGUF lost by quantization: perplexity and KL divergence against the unquantized model, on a text.

The method is that of llama.cpp's perplexity tool: windows of 512 tokens, each scored on its second half. The reference
runs once; what it predicts is kept as float16 in a file without a name, so that one model is in memory at a time.
"""

from __future__ import annotations

import shutil
import tempfile
from array import array
from collections.abc import Callable, Iterator
from pathlib import Path
from types import TracebackType
from typing import IO, Any, Final

import numpy as np

from agent.errors import ArtifactError, DiskFullError
from agent.hardware.board import detect
from convert.quality.divergence import Floats, Halves, Predictions, kl_divergence, pack, predictions, summary
from convert.quality.logits import LogitsModel
from convert.quality.windows import (
    SAMPLED_WINDOWS,
    TEXT_WINDOWS,
    WINDOW_TOKENS,
    Windows,
    read_windows,
    sample_windows,
)

Progress = Callable[[int, int], None]
"""Called with the tokens done and the tokens in all."""

_SMALL_MODEL_BYTES: Final = 32 * 1024 * 1024
"""Below this, threads wait for each other longer than they work: 0.4 s with one and 11 s with two on two busy cores."""


def measure_text(
    reference: Path,
    candidate: Path,
    text: Path | None = None,
    *,
    threads: int = 0,
    windows: int | None = None,
    scratch: Path | None = None,
    progress: Progress | None = None,
) -> dict[str, Any]:
    """The quality of the GGUF `candidate` against the unquantized `reference`, for `gates.check` and `TEXT_GATES`.

    `text` is a UTF-8 file, of which up to `windows` windows of 512 tokens are scored (16 unless given). Without one,
    the reference writes the text itself, with a fixed seed: 8 windows. `threads` 0 is one per core, and a single one
    for small models. `scratch` is a folder with room for 2 bytes per scored token and vocabulary entry (620 MB for 8
    windows of 152k); the candidate's unless given.

    Keys: those of `divergence.summary`, and `against`, `text`, `text_sha256` (of the token ids), `windows`,
    `window_tokens`, `scored_tokens`.

    Raises `ModelLoadError` for a file that cannot be loaded; `ArtifactError` for a model that predicts no text, for two
    that do not share a vocabulary, and for a reference that computes no finite numbers; `RequestError` for a bad text;
    `DiskFullError`.
    """
    with Reference(
        reference, text, threads=threads, windows=windows, scratch=scratch or candidate.parent, progress=progress
    ) as known:
        return known.compare(candidate, progress=progress)


class Reference:
    """What the unquantized model predicts for a text, to compare any number of candidates with. A context manager.

    Arguments and errors are those of `measure_text`.
    """

    def __init__(
        self,
        path: Path,
        text: Path | None = None,
        *,
        threads: int = 0,
        windows: int | None = None,
        scratch: Path,
        progress: Progress | None = None,
    ) -> None:
        self.path = path
        self._threads = threads or _suitable_threads(path)
        self.windows, vocabulary = self._choose(text, windows, progress)
        self._row_bytes = 2 * vocabulary
        self._vocabulary = vocabulary
        _check_space(scratch, len(self.windows.rows) * self.windows.scored * self._row_bytes)
        self._file: IO[bytes] = tempfile.TemporaryFile(dir=scratch)  # noqa: SIM115
        try:
            self._predictions = self._run(progress)
        except BaseException:
            self.close()
            raise

    def _choose(self, text: Path | None, most: int | None, progress: Progress | None) -> tuple[Windows, int]:
        """The windows to score, and the size of the vocabulary."""
        count = 1 if text is not None else most or SAMPLED_WINDOWS
        # The cache is not what is measured here: 16 bits keep it small where several windows are written at a time.
        with LogitsModel(
            self.path, window_tokens=WINDOW_TOKENS, windows=count, threads=self._threads, kv_type="f16"
        ) as model:
            length = min(WINDOW_TOKENS, model.trained_tokens or WINDOW_TOKENS)
            if text is not None:
                chosen = read_windows(model.vocabulary, text, window_tokens=length, most=most or TEXT_WINDOWS)
            else:
                chosen = sample_windows(model, window_tokens=length, windows=count, progress=progress)
            return chosen, model.vocabulary.size

    def _run(self, progress: Progress | None) -> Predictions:
        found = []
        with LogitsModel(self.path, window_tokens=self.windows.length, threads=self._threads) as model:
            for logits, targets in _steps(model, self.windows, progress):
                if not np.isfinite(logits.max(axis=1)).all():
                    raise ArtifactError(
                        f"{self.path.name} computes numbers that are not finite: there is nothing to compare with.",
                        hint="Convert the model again, as BF16 or F32: its values may be too large for F16.",
                    )
                found.append(predictions(logits, targets))
                self._write(pack(logits))
        return _joined(found)

    def compare(self, candidate: Path, *, progress: Progress | None = None) -> dict[str, Any]:
        """The quality of `candidate`, as `measure_text` says."""
        found, divergences = [], []
        self._file.seek(0)
        with LogitsModel(candidate, window_tokens=self.windows.length, threads=self._threads) as model:
            if model.vocabulary.size != self._vocabulary:
                raise ArtifactError(
                    f"{candidate.name} has {model.vocabulary.size} tokens in its vocabulary, and {self.path.name} has "
                    f"{self._vocabulary}: they are not the same model.",
                )
            for logits, targets in _steps(model, self.windows, progress):
                found.append(predictions(logits, targets))
                divergences.append(kl_divergence(self._read(len(targets)), logits))
        return {
            "against": self.path.name,
            "text": self.windows.text,
            "text_sha256": self.windows.sha256,
            "windows": len(self.windows.rows),
            "window_tokens": self.windows.length,
            "scored_tokens": len(self.windows.rows) * self.windows.scored,
            **summary(self._predictions, _joined(found), np.concatenate(divergences)),
        }

    def _write(self, packed: Halves) -> None:
        try:
            self._file.write(packed.tobytes())
        except OSError as error:
            raise DiskFullError(f"The predictions of {self.path.name} cannot be kept: {error.strerror}.") from error

    def _read(self, rows: int) -> Halves:
        data = self._file.read(rows * self._row_bytes)
        return np.frombuffer(data, np.float16).reshape(rows, self._vocabulary)

    def close(self) -> None:
        self._file.close()

    def __enter__(self) -> Reference:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def _steps(model: LogitsModel, windows: Windows, progress: Progress | None) -> Iterator[tuple[Floats, array[int]]]:
    """Logits [tokens, vocabulary] that count, and the tokens that came after; the last position predicts nothing."""
    total = len(windows.rows) * windows.length
    for index, row in enumerate(windows.rows):
        model.clear()
        for start in range(0, windows.length - 1, model.step_tokens):
            stop = min(start + model.step_tokens, windows.length - 1)
            logits = model.feed([row[start:stop]], start, first_scored=windows.first_scored)
            if len(logits):
                yield logits, row[stop - len(logits) + 1 : stop + 1]
            if progress is not None:
                progress(index * windows.length + stop + 1, total)


def _joined(parts: list[Predictions]) -> Predictions:
    return Predictions(np.concatenate([part.nll for part in parts]), np.concatenate([part.top for part in parts]))


def _suitable_threads(model: Path) -> int:
    return 1 if model.is_file() and model.stat().st_size < _SMALL_MODEL_BYTES else detect().usable_cores


def _check_space(folder: Path, needed_bytes: int) -> None:
    free_bytes = shutil.disk_usage(folder).free
    if free_bytes < needed_bytes:
        raise DiskFullError(
            f"{folder} has {free_bytes / 1e6:.0f} MB free, and comparing the models takes {needed_bytes / 1e6:.0f} MB.",
            hint="Make room; nothing of it stays.",
        )
