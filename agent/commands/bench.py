"""`edge-agent bench`: how fast this board is, how close to what it could be, and how that compares."""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import sys
import tempfile
from pathlib import Path
from typing import Any, TextIO

from agent.bench.comparison import ratios, warnings
from agent.bench.http import Http
from agent.bench.page import page
from agent.bench.report import LIMIT_BYTES, Pairing, Report, Row, decode, encode
from agent.bench.run import Options
from agent.bench.suite import MEASURES, Screen, Surroundings, measure, new_report
from agent.bench.wording import amount, doubt, ending, figure, heading, ratio, turns
from agent.commands.call import Call
from agent.errors import EdgeAgentError, RequestError
from agent.hardware.power.choose import Choice, choose_meter
from agent.terminal import print_json, table
from agent.version import version

_TITLE_COLUMNS = 46
_FIGURE_COLUMNS = 44


def add_arguments(parser: argparse.ArgumentParser, common: argparse.ArgumentParser) -> None:
    parser.add_argument("--model", metavar="NAME", help="which model; not needed where there is one for each task")
    parser.add_argument("--url", metavar="URL", help="the server to measure, of any make; by default this daemon")
    parser.add_argument("--quick", action="store_true", help="a minute or two: fewer repeats, shorter prompts")
    parser.add_argument("--only", metavar="WHAT", action="append", help=f"may be repeated: {', '.join(MEASURES)}")
    parser.add_argument("--sustained", metavar="MINUTES", type=float, help="then generate for so long; 15 shows heat")
    parser.add_argument("--rate", metavar="N", type=float, help="requests per second of the open loop; default: half")
    parser.add_argument(
        "--audio", metavar="FILE", type=Path, help="the recording to transcribe, instead of made-up sound"
    )
    parser.add_argument("--seed", metavar="N", type=int, default=1, help="of prompts and arrival times; default: 1")
    parser.add_argument("--json", metavar="FILE", help="write one line of JSON there; - is standard output")
    parser.add_argument("--html", metavar="FILE", type=Path, help="write a page with plots there")
    parser.add_argument("--against", metavar="URL", help="measure in turn with this OpenAI-compatible server: A B A B")
    parser.add_argument("--against-model", metavar="NAME", help="its model; by default the one of the same name")
    parser.add_argument("--against-key", metavar="KEY", help="its API key")
    actions = parser.add_subparsers(dest="action", metavar="compare")
    compared = actions.add_parser(
        "compare", help="ratios of two reports", description="Ratios of two reports.", parents=[common]
    )
    compared.add_argument("first", metavar="A.json", type=Path)
    compared.add_argument("second", metavar="B.json", type=Path)
    compared.add_argument("--json", action="store_true", help="print JSON, for scripts")


def run(call: Call) -> int:
    if call.options.action == "compare":
        return _compare(call)
    options = _options(call.options)
    http = _server(call)
    other = None
    if call.options.against:
        other = (Http(call.options.against, key=call.options.against_key), call.options.against_model)
    report = new_report(http, options, version())
    out = sys.stderr if call.options.json == "-" else sys.stdout
    stopped: KeyboardInterrupt | None = None
    try:
        asyncio.run(measure(report, http, options, _surroundings(call, http), _screen(out), other=other))
    except KeyboardInterrupt as interrupt:
        stopped = interrupt
        report.problems.append("It was stopped.")
        report.complete = False
    except ExceptionGroup as group:
        raise group.exceptions[0] from None
    for line in ending(report):
        print(line, file=out)
    _write(call.options, report)
    if stopped is not None:
        raise stopped
    return 0 if report.complete else 1


def _options(given: argparse.Namespace) -> Options:
    """Raises `RequestError` for values that mean nothing."""
    only = frozenset(part for text in given.only or () for part in text.split(",") if part)
    for name in sorted(only - MEASURES.keys()):
        raise RequestError(f"--only {name}: expected one of {', '.join(MEASURES)}.")
    for flag, value in (("--sustained", given.sustained), ("--rate", given.rate)):
        if value is not None and not 0 < value < 1e6:
            raise RequestError(f"{flag} {value:g}: expected a number above 0.")
    if given.audio is not None and not given.audio.is_file():
        raise RequestError(f"{given.audio} is not a file.")
    for file in (given.html, None if given.json in (None, "-") else Path(given.json)):
        if file is not None and not file.absolute().parent.is_dir():
            raise RequestError(f"{file} cannot be written: {file.absolute().parent} is not a folder.")
    return Options(
        model=given.model,
        quick=given.quick,
        only=only,
        seed=given.seed,
        rate_per_s=given.rate or 0.0,
        audio=given.audio,
        sustained_min=given.sustained or 0.0,
    )


def _server(call: Call) -> Http:
    keys = [key.key for key in call.settings.api_keys if key.key]
    return Http(call.options.url or call.url, key=keys[0] if keys else None)


def _surroundings(call: Call, http: Http) -> Surroundings:
    quantizations: dict[tuple[str, str], str] = {}
    if http.local:
        from agent.plan import starters
        from agent.store.store import Store

        # A report without quantizations is better than none: the store may belong to another user.
        with contextlib.suppress(EdgeAgentError):
            models = Store(call.state_dir / "models").models()
            for model in (*models, *starters(models, call.settings.starter_models, call.settings.models)):
                quantizations[model.name, model.version] = model.manifest.quantization
    return Surroundings(
        version=version(),
        quantizations=quantizations,
        choose_meter=(lambda: _meter(call)) if http.local else None,
    )


def _meter(call: Call) -> Choice:
    from agent.hardware import board, profile

    found = profile.choose(board.detect(), profile.load_profiles(), call.settings.profile)
    return choose_meter(found.profile.power.meter)


def _screen(out: TextIO) -> Screen:
    def facts(report: Report) -> None:
        for label, text in heading(report):
            print(f"{label:10} {text}", file=out)
        print(file=out, flush=True)

    def row(one: Row) -> None:
        text = f"{one.title:{_TITLE_COLUMNS}} {figure(one):{_FIGURE_COLUMNS}} {doubt(one)}"
        print(f"{text}{'; ' + one.note if one.note else ''}", file=out, flush=True)

    def pairing(one: Pairing) -> None:
        print(f"{one.title:{_TITLE_COLUMNS}} {ratio(one):{_FIGURE_COLUMNS}} {turns(one)}", file=out, flush=True)

    return Screen(
        facts=facts, row=row, pairing=pairing, say=lambda text: print(f"  {text}", file=sys.stderr, flush=True)
    )


def _write(options: argparse.Namespace, report: Report) -> None:
    """The files that were asked for, each whole or not at all. Raises `RequestError`."""
    if options.json == "-":
        sys.stdout.write(encode(report).decode())
    elif options.json:
        _write_file(Path(options.json), encode(report))
    if options.html:
        _write_file(options.html, page(report).encode())


def _write_file(path: Path, data: bytes) -> None:
    try:
        with tempfile.NamedTemporaryFile(dir=path.absolute().parent, prefix=f".{path.name}-", delete=False) as file:
            part = Path(file.name)
            try:
                file.write(data)
                file.flush()
                part.chmod(0o644)
                part.replace(path)
            except BaseException:
                part.unlink(missing_ok=True)
                raise
    except OSError as error:
        raise RequestError(f"{path} cannot be written: {error.strerror}.") from None
    print(f"wrote {path}", file=sys.stderr)


def _compare(call: Call) -> int:
    first, second = (_read(path) for path in (call.options.first, call.options.second))
    found, doubts = list(ratios(first, second)), list(warnings(first, second))
    if call.options.json:
        values: list[dict[str, Any]] = [
            {name: getattr(one, name) for name in ("title", "what", "unit", "first", "second", "gain", "low", "high")}
            for one in found
        ]
        print_json({"ratios": values, "warnings": doubts})
        return 0 if found else 1
    for label, report in (("A", first), ("B", second)):
        board = report.board.get("model") or report.url
        models = ", ".join(f"{model.name} {model.quantization}".strip() for model in report.models)
        print(f"{label}: {board}, {models}, {report.began}")
    for text in doubts:
        print(f"! {text}")
    print()
    if not found:
        raise EdgeAgentError("The two have nothing in common that could be compared.")
    rows = [
        [
            one.title if one.what == "median" else f"{one.title}, {one.what}",
            amount(one.first, one.unit),
            amount(one.second, one.unit),
            f"{one.gain:.2f}x",
            f"{one.low:.2f} to {one.high:.2f}" if one.what == "median" else "",
        ]
        for one in found
    ]
    print(table(rows, ("WHAT", "A", "B", "B IS", "QUARTILES"), right=(1, 2, 3)))
    print("\nAbove 1 B is better, also where less is better.")
    return 0


def _read(path: Path) -> Report:
    try:
        with path.open("rb") as file:
            data = file.read(LIMIT_BYTES + 1)
    except OSError as error:
        raise RequestError(f"{path} cannot be read: {error.strerror}.") from None
    if len(data) > LIMIT_BYTES:
        raise RequestError(f"{path} is too large to be a report.")
    return decode(data, str(path))
