"""`edge-agent transcribe`: recordings, or what the microphone hears, as text."""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any, Final

from agent.commands.audio_progress import AudioProgress, clock_time
from agent.commands.call import Call
from agent.commands.client import NoDaemonError
from agent.commands.form import Form
from agent.commands.microphone import add_device_arguments
from agent.commands.recording import Recording
from agent.commands.transcription import Format, Transcription
from agent.commands.transcripts import Transcripts
from agent.errors import (
    EdgeAgentError,
    ForbiddenError,
    ModelNotFoundError,
    QueueFullError,
    UnauthorizedError,
    UnavailableError,
)

PATIENCE_S: Final = 300.0
"""How long a full queue is asked again for one file."""

_SAME_FOR_ALL: Final = (NoDaemonError, UnauthorizedError, ForbiddenError, ModelNotFoundError)
"""What goes wrong with one file and would with every other one."""


def add_arguments(parser: argparse.ArgumentParser, common: argparse.ArgumentParser) -> None:
    parser.set_defaults(wrong_usage=parser.error)
    parser.add_argument("files", metavar="FILE", nargs="*", help="a recording, or - for standard input")
    parser.add_argument("--mic", action="store_true", help="listen to the microphone instead, until Ctrl-C")
    add_device_arguments(parser)
    parser.add_argument("--hotwords", metavar="TEXT", help="words to expect, such as names")
    parser.add_argument("--translate", action="store_true", help="write it in English, whatever is spoken")
    parser.add_argument("--words", action="store_true", help="the times of every word")
    parser.add_argument("--beam-size", metavar="N", type=int, help="1 is greedy and fastest; 5 is a little better")
    parser.add_argument("--all-sound", action="store_true", help="also what does not sound like speech, such as song")
    parser.add_argument("--out", metavar="DIR", type=Path, help="write a file for each recording there")
    formats = parser.add_mutually_exclusive_group()
    formats.add_argument("--srt", dest="format", action="store_const", const="srt", help="subtitles for players")
    formats.add_argument("--vtt", dest="format", action="store_const", const="vtt", help="subtitles for web pages")
    formats.add_argument("--json", dest="format", action="store_const", const="json", help="print JSON, for scripts")


def run(call: Call) -> int:
    options = call.options
    if trouble := _contradiction(options):
        options.wrong_usage(trouble)
    if options.mic:
        from agent.commands.listening import listen

        return listen(call)
    format: Format = options.format or "txt"
    output = Transcripts(options.files, format, out=options.out, words=options.words)
    with output:
        return _Batch(call, output).run()


def _contradiction(options: argparse.Namespace) -> str:
    """What cannot be asked for together; empty where all is well."""
    if options.mic:
        if options.files:
            return "give recordings or --mic, not both"
        flags = {"--hotwords": options.hotwords, "--translate": options.translate, "--words": options.words}
        flags |= {"--beam-size": options.beam_size, "--all-sound": options.all_sound, "--out": options.out}
        flags[f"--{options.format}"] = options.format
        flags.pop("--json", None)
        wrong = [name for name, value in flags.items() if value]
        return f"{', '.join(wrong)} cannot be used with --mic" if wrong else ""
    if not options.files:
        return "name at least one recording, - for standard input, or --mic for the microphone"
    if options.files.count("-") > 1:
        return "standard input can be read only once"
    if options.files.count("-") and sys.stdin.isatty():
        return "standard input is the terminal: send a recording, as in `edge-agent transcribe - < speech.wav`"
    return "--device belongs to --mic" if options.device is not None else ""


class _Batch:
    """The files one after the other; one that fails does not stop the others."""

    def __init__(self, call: Call, output: Transcripts) -> None:
        self._call = call
        self._output = output
        self._failed = 0

    def run(self) -> int:
        names = self._call.options.files
        for number, name in enumerate(names, 1):
            label = Path(name).name if name != "-" else "standard input"
            if len(names) > 1 and sys.stderr.isatty():
                label = f"{number}/{len(names)} {label}"
            transcription, progress = Transcription(), AudioProgress(label)
            try:
                self._output.begin(name)
                for line in self._lines(name, transcription, progress):
                    progress.wipe()
                    self._output.line(line)
                progress.wipe()
                self._output.end(name, transcription, elapsed_s=progress.elapsed_s)
                self._say(name, transcription, progress)
            except KeyboardInterrupt:
                progress.wipe()
                self._output.interrupted(name, transcription)
                self._stopped(number - 1, transcription)
                raise
            except EdgeAgentError as error:
                progress.wipe()
                self._failed += 1
                self._output.failed(name, transcription, error)
                if len(names) == 1 or isinstance(error, _SAME_FOR_ALL):
                    raise
                which = "" if error.message.startswith(name) else f"{name}: "
                print(f"edge-agent: {which}{error}", file=sys.stderr)
        return int(self._failed > 0)

    def _lines(self, name: str, transcription: Transcription, progress: AudioProgress) -> Iterator[str]:
        options = self._call.options
        path = f"/v1/audio/{'translations' if options.translate else 'transcriptions'}"
        give_up = time.monotonic() + PATIENCE_S
        progress.show(0.0, None)
        while True:
            try:
                with Recording(name) as file:
                    form = Form(_fields(options), file, "recording" if name == "-" else Path(name).name)
                    with closing(self._call.client.upload(path, form)) as events:
                        for event in events:
                            if line := transcription.feed(event):
                                yield line
                            if not transcription.finished:
                                progress.show(transcription.position_s, transcription.duration_s)
            except QueueFullError as error:
                if transcription.position_s or name == "-" or time.monotonic() + error.retry_after_s > give_up:
                    raise
                time.sleep(error.retry_after_s)
                continue
            if not transcription.finished:
                raise UnavailableError("The daemon closed the connection in mid-answer.", hint="Its log says why.")
            return

    def _say(self, name: str, transcription: Transcription, progress: AudioProgress) -> None:
        """A line about a file that is done."""
        text = f"{'standard input' if name == '-' else name}: {clock_time(transcription.audio_s)} of sound"
        if transcription.audio_s:
            text += f", real-time factor {progress.elapsed_s / transcription.audio_s:.2f}"
        if (path := self._output.path_of(name)) is not None:
            text += f" -> {path}"
        print(f"{text}{f'. {transcription.damage}' if transcription.damage else ''}", file=sys.stderr)

    def _stopped(self, done: int, transcription: Transcription) -> None:
        total = len(self._call.options.files)
        where = f" at {clock_time(transcription.position_s)}" if transcription.position_s else ""
        which = f" {done + 1} of {total}" if total > 1 else ""
        print(f"\nedge-agent: stopped in recording{which}{where}.", file=sys.stderr)


def _fields(options: argparse.Namespace) -> list[tuple[str, str]]:
    """The form besides the file."""
    fields: dict[str, Any] = {"response_format": "verbose_json", "stream": "true"}
    for name in ("model", "language", "prompt", "hotwords", "beam_size"):
        if (value := getattr(options, name)) is not None:
            fields[name] = value
    if options.all_sound:
        fields["vad_filter"] = "false"
    granularities = ["segment", *(["word"] if options.words else [])]
    return [(name, str(value)) for name, value in fields.items()] + [
        ("timestamp_granularities[]", one) for one in granularities
    ]
