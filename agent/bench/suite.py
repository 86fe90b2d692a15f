"""The order of things: look at the server, the ceiling first, then one measurement after the other."""

from __future__ import annotations

import asyncio
import contextlib
import os
import platform
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from functools import partial
from typing import Final

from agent.bench import against, endurance, generation, loading, openloop, transcribing, vectors
from agent.bench.ceiling import cache_bytes, ceiling_of, measure_bandwidth
from agent.bench.energy import find_energy
from agent.bench.http import GoneError, Http
from agent.bench.report import ModelFacts, Pairing, Report, Row, rounded
from agent.bench.run import Options, Run
from agent.bench.server import DOES, Model, Server, Task, choose, look
from agent.bench.writer import Writer
from agent.errors import EdgeAgentError, ModelNotFoundError, RequestError, UnavailableError
from agent.hardware.power.choose import Choice
from agent.hardware.sensors.cpu_share import busy_share, read_cpu_times

MEASURES: Final[dict[str, Task]] = {
    "load": "generate",
    "prompt": "generate",
    "generate": "generate",
    "batch": "generate",
    "first-token": "generate",
    "arrivals": "generate",
    "energy": "generate",
    "embed": "embed",
    "transcribe": "transcribe",
}
"""What `--only` knows, and what kind of model it needs."""

TASKS: Final[tuple[Task, ...]] = ("generate", "embed", "transcribe")

Step = Callable[[], Awaitable[None]]

_LOOK_S: Final = 0.5


@dataclass(frozen=True, kw_only=True)
class Surroundings:
    """What the caller knows of this machine. `quantizations` are those of the models in its store, by name and
    version; `choose_meter` finds its meter, and is None where the server is elsewhere."""

    version: str
    quantizations: dict[tuple[str, str], str]
    choose_meter: Callable[[], Choice] | None


@dataclass(frozen=True, kw_only=True)
class Screen:
    """Told of what is known, as soon as it is: once of the facts, the ceiling among them, then of every row."""

    facts: Callable[[Report], None]
    row: Callable[[Row], None]
    pairing: Callable[[Pairing], None]
    say: Callable[[str], None]


def new_report(http: Http, options: Options, version: str) -> Report:
    return Report(
        began=time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        quick=options.quick,
        seed=options.seed,
        client_version=version,
        client_platform=f"{platform.system()} {platform.machine()}, Python {platform.python_version()}",
        url=http.url,
    )


async def measure(
    report: Report,
    http: Http,
    options: Options,
    around: Surroundings,
    screen: Screen,
    *,
    other: tuple[Http, str | None] | None = None,
) -> None:
    """Fills `report` as it goes, so that whoever cuts this short keeps what there is. `other` is a server to take turns
    with, and its model. Raises `EdgeAgentError` where nothing can be measured; anything later becomes a problem in the
    report."""
    server = await look(http)
    models = _models(server, options, http.url, screen.say)
    report.server, report.server_version = ("edge-agent", server.version) if server.ours else ("openai", "")
    report.board, report.profile = dict(server.board), dict(server.profile)
    report.others_cores = await _others_cores() if http.local else None
    bandwidth = await _bandwidth(server) if http.local and "generate" in models else (0.0, 0)
    writer = await _writer(http, options, models.get("generate"))
    theirs = await _other(other, options, writer)
    server = await look(http)
    models = {task: server.named(model.name) or model for task, model in models.items()}
    report.models = [_facts(task, model, server, around) for task, model in models.items()]
    if (model := models.get("generate")) is not None:
        report.ceiling = ceiling_of(
            bandwidth,
            model.weights_bytes,
            gpu_bytes=model.gpu_bytes,
            cached_bytes=cache_bytes() if http.local else 0,
            local=http.local,
        )
    energy = await find_energy(http, server.status, around.choose_meter)
    report.power = energy.power
    if theirs is not None:
        report.against_url, report.against_model = theirs.http.url, theirs.model
    screen.facts(report)
    run = Run(options=options, http=http, server=server, report=report, energy=energy, show=screen.row, say=screen.say)
    async with asyncio.TaskGroup() as group:
        reading = group.create_task(energy.run())
        try:
            if writer is not None and theirs is not None:
                await _guarded(run, "against", partial(against.compare, run, writer, theirs, screen.pairing))
            else:
                await _every(run, models, writer)
                with contextlib.suppress(EdgeAgentError):  # those that were loaded only now
                    server = await look(http)
                    report.models = [
                        _facts(task, server.named(model.name) or model, server, around)
                        for task, model in models.items()
                    ]
            report.complete = not report.problems
        finally:
            reading.cancel()


async def _every(run: Run, models: dict[Task, Model], writer: Writer | None) -> None:
    """Each measurement that was asked for; one that fails does not keep the others back, but a server that is gone
    does."""
    options = run.options
    steps: list[tuple[str, Step]] = []
    text, embed, speech = (models.get(task) for task in TASKS)
    if writer is not None and not writer.counts_tokens:
        run.problem(
            f"{run.http.url} sends no usage: its tokens cannot be counted, and no speed is known. Chunks are no tokens."
        )
    if text is not None and writer is not None:
        if options.wants("load"):
            steps.append(("load", partial(loading.load_time, run, text)))
        if options.wants("prompt") or options.wants("generate"):
            steps.append(("generate", partial(generation.over_contexts, run, writer, text)))
        if options.wants("batch"):
            steps.append(("batch", partial(generation.over_batches, run, writer, text)))
        if options.wants("first-token"):
            steps.append(("first-token", partial(generation.first_tokens, run, writer)))
        if options.wants("arrivals"):
            steps.append(("arrivals", partial(openloop.under_load, run, writer, text)))
        if options.wants("energy"):
            steps.append(("energy", partial(endurance.energy_of_generation, run, writer)))
        if options.sustained_min:
            steps.append(("sustained", partial(endurance.sustained, run, writer, options.sustained_min)))
        if options.wants("load"):
            steps.append(("memory", partial(loading.memory, run, text)))
    if embed is not None and options.wants("embed"):
        steps.append(("embed", partial(vectors.embeddings, run, embed)))
    if speech is not None and options.wants("transcribe"):
        steps.append(("transcribe", partial(transcribing.transcriptions, run, speech)))
    for name, step in steps:
        if not await _guarded(run, name, step):
            return


async def _guarded(run: Run, name: str, step: Step) -> bool:
    """Whether it is worth going on."""
    try:
        await step()
    except GoneError as error:
        run.problem(f"{name}: the server is gone. {error.message}")
        return False
    except EdgeAgentError as error:
        run.problem(f"{name}: {error}")
    return True


def _models(server: Server, options: Options, url: str, say: Callable[[str], None]) -> dict[Task, Model]:
    """The model for each task that is to be measured: the one that was named, else the only one there is. A task
    without a model is left out, unless it was asked for. Raises `ModelNotFoundError`, `RequestError`."""
    wanted = {task for measure, task in MEASURES.items() if options.wants(measure)}
    if options.model is not None:
        named = server.named(options.model)
        task: Task = next((one for one in TASKS if named is not None and one == named.task), "generate")
        if task not in wanted:
            raise RequestError(f"{options.model} {DOES[task]}, and --only asks for something else.", param="only")
        return {task: choose(server, options.model, task, url)}
    found: dict[Task, Model] = {}
    for task in (one for one in TASKS if one in wanted):
        if task != "generate" and not server.ours and not options.only:
            continue  # other servers do not say what their models are for
        try:
            found[task] = choose(server, None, task, url)
        except ModelNotFoundError:
            if options.only:
                raise
        except RequestError as error:
            if task == "generate" or options.only:
                raise
            say(f"{task} is not measured. {error}")
    if not found:
        raise ModelNotFoundError(f"{url} has no model.", hint="`edge-agent models suggest` lists what fits.")
    return found


async def _writer(http: Http, options: Options, model: Model | None) -> Writer | None:
    if model is None:
        return None
    writer = Writer(http, model.name, seed=options.seed)
    await writer.prepare()
    return writer


async def _other(other: tuple[Http, str | None] | None, options: Options, writer: Writer | None) -> Writer | None:
    """The other side of a comparison. Raises what is wrong with its server, or its model."""
    if other is None:
        return None
    if writer is None:
        raise RequestError("Servers are compared by the text that they generate.", hint="Name such a --model.")
    if not any(options.wants(load.only) for load in against.LOADS):
        choices = ", ".join(load.only for load in against.LOADS)
        raise RequestError(f"Nothing of --only is compared between servers; that is {choices}.", param="only")
    http, name = other
    server = await look(http)
    if name is None:
        # The same one, where it is there.
        name = writer.model if server.named(writer.model) else None
    model = choose(server, name, "generate", http.url)
    # Another seed: where both are one server, its cache shall know the text of neither.
    theirs = Writer(http, model.name, seed=options.seed + 1_000_003)
    await against.agree(writer, theirs)
    return theirs


def _facts(task: Task, model: Model, server: Server, around: Surroundings) -> ModelFacts:
    threads = model.threads or server.profile.get("threads") or 0
    return ModelFacts(
        task=task,
        name=model.name,
        version=model.version,
        quantization=around.quantizations.get((model.name, model.version), ""),
        description=model.description,
        weights_bytes=model.weights_bytes,
        context_tokens=model.context_tokens,
        slots=model.slots,
        threads=threads if isinstance(threads, int) else 0,
    )


async def _bandwidth(server: Server) -> tuple[float, int]:
    """(0, 0) where it cannot be measured."""
    cores = server.board.get("usable_cores")
    if not isinstance(cores, int) or cores < 1:
        cores = os.cpu_count() or 1
        with contextlib.suppress(AttributeError):  # a Mac
            cores = len(os.sched_getaffinity(0))
    try:
        return await asyncio.to_thread(measure_bandwidth, cores, quick=False)
    except UnavailableError:
        return 0.0, 0


async def _others_cores() -> float | None:
    """How many cores other programs keep busy while nothing is measured yet; None where /proc does not say."""
    before = read_cpu_times()
    await asyncio.sleep(_LOOK_S)
    after = read_cpu_times()
    share = busy_share(before, after) if before and after else None
    return None if share is None else rounded(share * (os.cpu_count() or 1))
