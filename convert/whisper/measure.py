"""Whether a converted Whisper still hears what its float32 version hears."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from agent.terminal import Progress
from convert.quality.gates import check, not_measured
from convert.quality.recordings import find_recordings
from convert.quality.speech import SPEECH_GATES, Transcript, compare, transcribe_all


class SpeechJudge:
    """Transcribes recordings with the float32 artifact once, then with each candidate."""

    def __init__(self, recordings: Path, *, threads: int, accept: bool) -> None:
        """Raises `RequestError` where the folder has no recordings, or no transcripts."""
        self._recordings = find_recordings(recordings)
        self._threads = threads
        self._accept = accept
        self._reference: Path | None = None
        self._expected: list[Transcript] = []

    @property
    def expected_texts(self) -> list[str]:
        """What the reference heard, a text for each recording, in the order of their names."""
        return [transcript.text for transcript in self._expected]

    def listen_to_reference(self, artifact: Path) -> None:
        """The transcripts of the folder `artifact` are what the candidates' are compared with."""
        self._reference = artifact
        self._expected = self._transcribe(artifact, "transcribing with the reference")

    def judge(self, artifact: Path) -> dict[str, Any]:
        """The manifest's `quality` for the folder `artifact`. Raises `QualityError` where it misses a gate."""
        measured = (
            self._expected if artifact == self._reference else self._transcribe(artifact, "transcribing to compare")
        )
        compared = compare([recording.text for recording in self._recordings], self._expected, measured)
        return check({**compared, "against": "fp32"}, SPEECH_GATES, accept=self._accept)

    def _transcribe(self, artifact: Path, label: str) -> list[Transcript]:
        with Progress(label) as progress:
            return transcribe_all(artifact, self._recordings, threads=self._threads, progress=progress, part=(0, 1))


def unmeasured() -> dict[str, Any]:
    """The `quality` of an artifact that its maker accepted without recordings."""
    return check(not_measured("no recordings were given"), SPEECH_GATES, accept=True)
