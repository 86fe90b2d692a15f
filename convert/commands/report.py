"""The levels of one model side by side: size, quality, speed and memory, and which to take for which board."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Literal

from agent.errors import ConfigError, RequestError
from agent.terminal import print_json
from convert.artifact import refuse_existing
from convert.commands.order import say

if TYPE_CHECKING:
    from agent.hardware.profile import Profile
    from convert.report.gguf import Order, Planned
    from convert.report.level import Level, Subject
    from convert.report.making import Workplace
    from convert.report.report import Machine, Report

    Task = Literal["generate", "embed", "transcribe"]

NAME: Final = "report"
HELP: Final = "compare the levels of one model on one page, and recommend one per board"

_LEVELS_OF_THE_SOURCE: Final = 3
"""How many times the size of a checkpoint its GGUF and the usual levels of it take together."""


def configure(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "source", metavar="SRC", help="an F32, F16 or BF16 GGUF file, the folder of a checkpoint, or a hub id"
    )
    parser.add_argument(
        "--quants",
        metavar="NAME[,NAME...]",
        help="F16,Q8_0,Q6_K,Q5_K_M,Q4_K_M,Q3_K_M unless given; fp32,int8 for encoders and Whisper",
    )
    parser.add_argument("--out", type=Path, metavar="DIR", help="a new folder; by default NAME-report here")
    parser.add_argument(
        "--text", type=Path, metavar="FILE", help="what to measure on: a text; for encoders one sentence a line"
    )
    parser.add_argument("--recordings", type=Path, metavar="DIR", help="for Whisper: audio files and transcripts.json")
    parser.add_argument("--imatrix", type=Path, metavar="FILE", help="importance matrix for the quantization")
    parser.add_argument("--profiles", metavar="NAME[,NAME...]", help="recommend for these boards; by default for all")
    parser.add_argument("--threads", type=int, default=0, metavar="N", help="one per core unless given")
    parser.add_argument("--json", action="store_true", help="print the report as JSON, for scripts")


@dataclass(frozen=True)
class Wanted:
    """What was asked for, checked: the folder to make, and whom to recommend to."""

    given: argparse.Namespace
    target: Path
    profiles: Sequence[Profile]
    machine: Machine


def run(given: argparse.Namespace) -> int:
    if given.threads < 0:
        raise RequestError(f"--threads: expected 0 or more, got {given.threads}.")
    for file, option in ((given.text, "--text"), (given.imatrix, "--imatrix")):
        if file is not None and not file.is_file():
            raise RequestError(f"{option}: {file} is not a file.")
    wanted = Wanted(given, _target(given), _profiles(given.profiles), _machine(given))
    make = {"transcribe": _transcription, "embed": _embedding, "generate": _generation}[_task(given.source)]
    report, picture = make(wanted)
    _show(report, wanted.target, picture=picture, as_json=given.json)
    return 0


def _task(source: str) -> Task:
    """By `model_type` in the checkpoint's config.json; a hub id is asked for that file first."""
    from convert.config import Config
    from convert.embed.graph import ARCHITECTURES
    from convert.source import resolve

    if Path(source).is_file():
        return "generate"
    described = resolve(source, files=("config.json",)) / "config.json"
    kind = Config(described).values.get("model_type") if described.is_file() else None
    if kind == "whisper":
        return "transcribe"
    return "embed" if isinstance(kind, str) and kind in ARCHITECTURES else "generate"


def _generation(wanted: Wanted) -> tuple[Report, bool]:
    """The report of a GGUF file, or of a checkpoint that becomes one."""
    from convert.report.gguf import plan_order
    from convert.report.making import workplace

    path = Path(wanted.given.source)
    if path.is_file():
        planned = plan_order(_order(wanted, path))
        with workplace(wanted.target, planned.needed_bytes) as place:
            return _finish_generation(wanted, path.stem, planned, place)
    from convert.report.checkpoint import find_checkpoint

    found = find_checkpoint(wanted.given.source)
    with workplace(wanted.target, _LEVELS_OF_THE_SOURCE * found.needed_bytes) as place:
        planned = plan_order(_order(wanted, found.convert(place.scratch, say)))
        return _finish_generation(wanted, found.name, planned, place)


def _order(wanted: Wanted, path: Path) -> Order:
    from convert.report.gguf import DEFAULT_LEVELS, Order, read_levels

    given = wanted.given
    return Order(
        source=path,
        levels=read_levels(given.quants or DEFAULT_LEVELS),
        text=given.text,
        imatrix=given.imatrix,
        threads=given.threads,
        speed_threads=wanted.machine.threads,
    )


def _finish_generation(wanted: Wanted, name: str, planned: Planned, place: Workplace) -> tuple[Report, bool]:
    from convert.report.gguf import measure

    measured = measure(planned, place.scratch, say)
    report = _report(
        wanted, name, measured.subject, measured.levels, measured.facts.context_train, measured.measured_on
    )
    return report, place.finish(report)


def _transcription(wanted: Wanted) -> tuple[Report, bool]:
    """The report of a Whisper checkpoint."""
    from convert.checkpoint import open_checkpoint
    from convert.report.making import workplace
    from convert.report.onnx import DEFAULT_PRECISIONS, measure, read_precisions
    from convert.report.speech import SpeechMaker
    from convert.source import resolve, source_name

    given = wanted.given
    precisions = read_precisions(given.quants or DEFAULT_PRECISIONS)
    if given.recordings is None:
        raise RequestError(
            "There is nothing to measure a Whisper model on.",
            hint="Give --recordings DIR, a folder of audio files and transcripts.json ({file name: what is said}).",
        )
    with open_checkpoint(resolve(given.source)) as checkpoint:
        maker = SpeechMaker(checkpoint, given.recordings, threads=given.threads)
        with workplace(wanted.target, maker.needed_bytes(precisions)) as place:
            levels = measure(maker, precisions, place.scratch, threads=wanted.machine.threads, say=say)
            name = source_name(given.source)
            report = _report(wanted, name, maker.subject, levels, maker.longest_tokens, given.recordings.name)
            return report, place.finish(report)


def _embedding(wanted: Wanted) -> tuple[Report, bool]:
    """The report of a text encoder."""
    from convert.embed.model import open_model
    from convert.report.making import workplace
    from convert.report.onnx import DEFAULT_PRECISIONS, measure, read_precisions
    from convert.report.vectors import VectorMaker
    from convert.source import EVERYTHING_BUT_WEIGHTS, SAFETENSORS, resolve, source_name

    given = wanted.given
    precisions = read_precisions(given.quants or DEFAULT_PRECISIONS)
    files = (*EVERYTHING_BUT_WEIGHTS, *SAFETENSORS, "*Dense*/*.safetensors")
    with open_model(resolve(given.source, files=files)) as model:
        maker = VectorMaker(model, given.text, threads=given.threads)
        with workplace(wanted.target, maker.needed_bytes(precisions)) as place:
            levels = measure(maker, precisions, place.scratch, threads=wanted.machine.threads, say=say)
            report = _report(wanted, source_name(given.source), maker.subject, levels, 0, maker.measured_on)
            return report, place.finish(report)


def _report(
    wanted: Wanted, name: str, subject: Subject, levels: Sequence[Level], trained_tokens: int, measured_on: str
) -> Report:
    from convert.report.recommend import boards_of, recommend
    from convert.report.report import Report

    choices = [
        recommend(board, levels, subject, trained_tokens=trained_tokens)
        for profile in wanted.profiles
        for board in boards_of(profile)
    ]
    return Report(
        model=name,
        source=Path(wanted.given.source).name,
        subject=subject,
        levels=tuple(levels),
        choices=tuple(choices),
        machine=wanted.machine,
        measured_on=measured_on,
        trained_tokens=trained_tokens,
    )


def _machine(given: argparse.Namespace) -> Machine:
    from agent.hardware.board import detect
    from convert.report.report import Machine

    board = detect()
    return Machine(board.model, board.cpu_name, given.threads or board.usable_performance_cores or board.usable_cores)


def _target(given: argparse.Namespace) -> Path:
    """The folder to make, which must not be there."""
    from convert.source import source_name

    name = Path(given.source).stem if Path(given.source).is_file() else source_name(given.source)
    target: Path = given.out or Path(f"{name}-report")
    refuse_existing(target)
    return target


def _profiles(names: str | None) -> list[Profile]:
    from agent.hardware.profile import load_profiles

    try:
        known = {profile.name: profile for profile in load_profiles()}
    except ConfigError as error:
        raise RequestError(error.message, hint=error.hint) from None
    asked = list(known) if names is None else list(dict.fromkeys(name.strip() for name in names.split(",")))
    for name in asked:
        if name not in known:
            raise RequestError(f"There is no profile {name!r}.", hint=f"Choose from {', '.join(known)}.")
    return [known[name] for name in asked]


def _show(report: Report, target: Path, *, picture: bool, as_json: bool) -> None:
    from convert.report.making import NO_PICTURE, PAGE
    from convert.report.page import plain
    from convert.report.report import as_json as form

    if as_json:
        value: dict[str, Any] = {"path": str(target), **form(report)}
        print_json(value)
    else:
        print(f"{plain(report)}\n\n{target / PAGE}")
    if not picture:
        say(NO_PICTURE)
