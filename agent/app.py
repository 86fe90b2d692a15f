"""The composition root: settings in, a running daemon out. The only place where all parts meet."""

from __future__ import annotations

import asyncio
import dataclasses
import logging
import os
import signal
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from agent.api.counted import CountedPasses
from agent.api.embedder import RuntimeEmbedder
from agent.api.keys import ApiKeys
from agent.api.listener import Listener
from agent.api.models import choose_model
from agent.api.parts import CONNECTIONS, METRICS
from agent.api.security import check_binding
from agent.api.server import make_app
from agent.config import unknown_variables
from agent.energy_side import Energy
from agent.errors import ArtifactError, ConfigError, EdgeAgentError, UnavailableError
from agent.governor_side import Governing
from agent.greeting import own_name, what_next
from agent.hardware import board as boards
from agent.hardware.governor.decision import Bounds
from agent.hardware.memory import budget_bytes, read_memory
from agent.hardware.power.choose import choose_meter
from agent.hardware.profile import choose, load_profiles
from agent.instance import Instance, url_of
from agent.logs import start_logging
from agent.plan import plan_models, starters
from agent.runtime.service import Runtime
from agent.runtime.spec import ModelSpec
from agent.search.library import Library
from agent.search.shelf import Shelf
from agent.service import watchdog
from agent.service.activation import inherited_sockets
from agent.service.cgroups import worker_groups
from agent.service.notify import notify
from agent.settings import Settings
from agent.speech.cadence import Cadence
from agent.speech.listening import Listening
from agent.speech.live_engine import RuntimeEngine
from agent.speech.passes import TranscribeCall
from agent.speech.wanted import Wanted
from agent.store.layout import StoredModel
from agent.store.store import Store
from agent.updates_side import OVER_MQTT, Updates
from agent.version import version
from agent.wiring import (
    api_settings,
    chat_templates,
    digests,
    limits,
    listening_settings,
    live_options,
    needing_restart,
    power_command,
    worker_environment,
)

if TYPE_CHECKING:
    from agent.fleet.blocks import Blocks
    from agent.fleet_side import Fleet

_log = logging.getLogger("agent.app")

LAST_WORDS_S = 0.5
"""What was said before the daemon stops gets this long to become text: others wait meanwhile."""


async def serve(load: Callable[[], Settings]) -> bool:
    """Runs the daemon until SIGTERM or SIGINT. `load` reads the configuration: at start, and again on SIGHUP.

    Returns whether it shall begin again. Raises `EdgeAgentError` if it cannot start.
    """
    settings = load()
    instance = Instance(settings.state_dir)
    instance.acquire()
    try:
        daemon = Daemon(settings, load)
        await daemon.run(instance)
        return daemon.wants_restart
    finally:
        instance.release()


class Daemon:
    """All parts of one running edge-agent, as the API sees it (`agent.api.models.Daemon`)."""

    def __init__(self, settings: Settings, load: Callable[[], Settings]) -> None:
        self.version = version()
        self.started_at = time.time()
        self._settings = settings
        self._load = load
        self._board = boards.detect()
        self._match = choose(self._board, load_profiles(), settings.profile)
        source = str(settings.config_file or "the configuration")
        self._profile = self._match.profile.resolve(self._board, settings.profile_overrides, source=source)
        self._store = Store(settings.state_dir / "models")
        wanted, command = self._profile.power.meter, power_command(settings)
        self._energy = Energy(lambda: choose_meter(wanted, command=command), idle_watts=settings.power_idle_watts)
        self._runtime = Runtime(
            limits(settings),
            memory=self._budget_bytes,
            environment=worker_environment(os.environ),
            cells=worker_groups(),
            energy=self._energy,
        )
        self._plan_budget_bytes = self._budget_bytes(0)
        """Fixed at start, so that a reload plans a model as before and needs no new worker for it."""
        self._sampling: dict[str, Mapping[str, float | int]] = {}
        self._keys = ApiKeys(digests(settings))
        self._library = Library(Shelf(settings.state_dir / "collections"), RuntimeEmbedder(self._runtime))
        cadence = Cadence()
        self._governor = self._governing(settings, cadence)
        live = live_options(partials=self._profile.speech.partials, cadence=cadence)
        self._listening = Listening(
            RuntimeEngine(self._runtime, self._transcribing, self._counted_passes),
            settings=listening_settings(settings),
            options=live,
        )
        self._opens_microphone = settings.microphone_start
        """Until that has worked once: there may be no model for it yet."""
        self._blocks = self._block_pipe() if settings.mqtt.url and settings.updates.url == OVER_MQTT else None
        self._updates = Updates(
            settings.updates,
            self,
            self._runtime,
            self._store,
            state_dir=settings.state_dir,
            limits=limits(settings),
            pipe=self._blocks,
        )
        self._fleet = self._fleet_side() if settings.mqtt.url else None
        if self._fleet is not None:
            self._updates.on_change(self._fleet.models_changed)
        self._http = make_app(
            self._runtime,
            self._store,
            api_settings(settings, self._sampling),
            daemon=self,
            library=self._library,
            listening=self._listening,
            keys=self._keys,
            live_options=live,
            fleet=self._fleet,
            energy=self._energy,
            governor=self._governor,
            updates=self._updates,
        )
        self._listener = Listener(self._http)
        self._url = ""
        self._changing = asyncio.Lock()
        self._stopping = asyncio.Event()
        self._reloads: set[asyncio.Task[None]] = set()
        self._forced = False
        self.wants_restart = False

    async def run(self, instance: Instance) -> None:
        """Serves until told to stop, then lets running requests finish. Raises `EdgeAgentError` if it cannot start."""
        settings = self._settings
        self._handle_signals()
        self._serve(self._apply(settings))
        self._url = url_of(settings.host, await self._listen(settings.host, settings.port))
        instance.announce(self._url, self.version)
        feeding = asyncio.create_task(watchdog.feed(self._runtime.hung), name="watchdog")
        watching = [
            asyncio.create_task(self._energy.run(), name="energy"),
            asyncio.create_task(self._governor.run(), name="governor"),
        ]
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(self._runtime.run(), name="runtime")
                group.create_task(self._library.run(), name="collections")
                group.create_task(self._updates.run(), name="updates")
                if self._fleet is not None:
                    group.create_task(self._fleet.run(), name="mqtt")
                self._say_ready()
                await self._open_microphone()
                await self._stopping.wait()
                notify("STOPPING=1")
                await self._shut_down()
        except asyncio.CancelledError:
            if not self._forced:
                raise
            _log.warning("stopped at once; running requests were cut off")
            await self._listener.close(0)
        finally:
            feeding.cancel()
            for task in watching:
                task.cancel()
            await asyncio.wait(watching)  # the clock is given back

    def about(self) -> Mapping[str, Any]:
        """What /status adds: where the daemon is, and on which board."""
        board, profile, power = self._board, self._profile, self._energy.read()
        return {
            "url": self._url,
            "mqtt": self._fleet.state() if self._fleet is not None else None,
            "updates": self._updates.brief(),
            "state_dir": str(self._settings.state_dir),
            "config_file": str(self._settings.config_file) if self._settings.config_file else None,
            "board": {
                "model": board.model,
                "soc": board.soc,
                "architecture": board.architecture,
                "operating_system": board.operating_system,
                "cores": board.cores,
                "usable_cores": board.usable_cores,
                "memory_bytes": board.memory_ceiling_bytes,
                "gpu": board.gpu.name if board.gpu else None,
                "temperature_celsius": self._governor.celsius,
                "power_watts": None if power is None else round(power.watts, 3),
            },
            "energy": self._energy.status(),
            "governor": self._governor.status(),
            "profile": {
                "name": profile.name,
                "reason": self._match.reason,
                "threads": profile.threads.generation,
                "threads_batch": profile.threads.batch,
                "gpu_layers": profile.llama.gpu_layers,
            },
        }

    async def models_changed(self) -> None:
        """Serve what the store and the settings say now. Raises `EdgeAgentError`, and changes nothing then."""
        async with self._changing:
            self._serve(await asyncio.to_thread(self._plan, self._settings))
        if self._fleet is not None:
            self._fleet.models_changed()
        await self._open_microphone()

    async def reload(self) -> None:
        """Read the configuration again and apply keys and models; a mistake in it is logged and changes nothing."""
        notify(f"RELOADING=1\nMONOTONIC_USEC={time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000}")
        try:
            async with self._changing:
                new = await asyncio.to_thread(self._load)
                keys, listening = ApiKeys(digests(new)), listening_settings(new)
                check_binding(self._settings.host, keys)
                specs = await asyncio.to_thread(self._plan, new)
                self._updates.apply(new.updates)
                self._serve(specs)
                self._keys.replace(digests(new))
                self._listening.settings = listening
                self._governor.apply(new)
                if later := needing_restart(self._settings, new):
                    _log.warning("changed, but only a restart applies it: %s", ", ".join(later))
                self._settings = new
                start_logging(new.log_level, new.log_format)
            _log.info("configuration reloaded: %s", _counted(len(specs), "model"))
            await self._open_microphone()
        except EdgeAgentError as error:
            _log.error("the configuration was not reloaded: %s", error)
        finally:
            notify("READY=1")

    def _apply(self, settings: Settings) -> list[ModelSpec]:
        for name in unknown_variables(os.environ):
            _log.warning("the environment variable %s sets nothing", name)
        return self._plan(settings)

    def _plan(self, settings: Settings) -> list[ModelSpec]:
        listing = self._store.scan()
        for broken in listing.broken:
            _log.warning("version %s of model %s cannot be used: %s", broken.version, broken.name, broken.reason)
        specs = plan_models(
            [*listing.models, *self._starters(listing.models, settings)],
            self._profile,
            settings.models,
            self._plan_budget_bytes,
            cores=self._board.usable_cores,
            default_keep_alive_s=settings.idle_limit_s,
            chat_templates=chat_templates(settings),
        )
        for name in settings.models.keys() - {spec.name for spec in specs}:
            _log.warning("models.%s is configured, but no such model is in the store and it has no path", name)
        return specs

    def _starters(self, stored: Sequence[StoredModel], settings: Settings) -> list[StoredModel]:
        try:
            return starters(stored, settings.starter_models, settings.models)
        except ArtifactError as error:
            _log.warning("%s", error)
            return []

    def spec_of(self, model: StoredModel) -> ModelSpec | None:
        """How a version would run if it were the active one; None where this device cannot."""
        settings = self._settings
        specs = plan_models(
            [dataclasses.replace(model, active=True)],
            self._profile,
            {name: said for name, said in settings.models.items() if name == model.name},
            self._plan_budget_bytes,
            cores=self._board.usable_cores,
            default_keep_alive_s=settings.idle_limit_s,
            chat_templates=chat_templates(settings),
        )
        return next((spec for spec in specs if spec.version == model.version), None)

    def is_spoken_to(self) -> bool:
        """Somebody is speaking into the microphone."""
        return self._listening.speaking

    def restart(self) -> None:
        """Shut down as on SIGTERM, and begin again."""
        _log.warning("restarting, as it was told over MQTT")
        self.wants_restart = True
        self._stopping.set()

    def _block_pipe(self) -> Blocks:
        from agent.fleet.blocks import Blocks

        return Blocks()

    def _governing(self, settings: Settings, cadence: Cadence) -> Governing:
        heat, threads = self._profile.thermal, self._profile.threads
        return Governing(
            self._runtime,
            self._energy,
            cadence,
            settings,
            bounds=Bounds(
                soft_celsius=heat.soft_limit_celsius,
                hard_celsius=heat.hard_limit_celsius,
                hysteresis_celsius=heat.hysteresis_celsius,
                batch_tokens=self._profile.llama.batch_tokens,
            ),
            threads=threads.generation,
            threads_batch=threads.batch,
        )

    def _fleet_side(self) -> Fleet:
        """Imports it here: without a broker nothing of MQTT is loaded. Raises `ConfigError`."""
        from agent.device import LocalDevice
        from agent.fleet.commands.operations.all import operations_of
        from agent.fleet.service import FleetService
        from agent.fleet_side import Fleet, about_this, fleet_options

        settings, board = self._settings, self._board
        device = LocalDevice(
            self,
            self._runtime,
            self._listening,
            board=board,
            match=self._match,
            profile=self._profile,
            state_dir=settings.state_dir,
            updates=self._updates,
        )
        operations = operations_of(self._runtime, self._store, device, self._sampling)
        options = fleet_options(settings.mqtt, settings.state_dir)
        about = about_this(self.version, board=board.model, architecture=board.architecture)
        heat = self._profile.thermal

        def make() -> FleetService:
            return FleetService(
                options,
                about,
                runtime=self._runtime,
                store=self._store,
                operations=operations,
                heat=heat,
                meter=self._energy,
                governor=self._governor,
                updates=self._updates,
                blocks=self._blocks,
            )

        return Fleet(make)

    def find_transcriber(self, model: str | None) -> str:
        return self._transcribing(model)

    def _transcribing(self, model: str | None) -> str:
        return choose_model(self._runtime.models(), model, "transcribe")

    def _counted_passes(self, model: str, call: TranscribeCall) -> TranscribeCall:
        return CountedPasses(call, self._http[METRICS].of(model))

    async def _open_microphone(self) -> None:
        """What `microphone_start` asks for; once it was opened, only people close and open it."""
        if not self._opens_microphone:
            return
        try:
            await self._listening.start(Wanted())
            self._opens_microphone = False
        except EdgeAgentError as error:
            _log.warning("microphone_start: the microphone was not opened: %s", error)

    def _serve(self, specs: Sequence[ModelSpec]) -> None:
        self._runtime.set_models(specs)
        self._sampling.clear()
        self._sampling.update({spec.name: spec.sampling for spec in specs})

    def _budget_bytes(self, held_bytes: int) -> int:
        return budget_bytes(read_memory(), self._profile.memory, held_bytes=held_bytes)

    async def _listen(self, host: str, port: int) -> int:
        try:
            return await self._listener.open(host, port, keys=self._keys, inherited=inherited_sockets())
        except ConfigError as error:
            if error.param != "port":
                raise
            raise UnavailableError(error.message, hint=error.hint, param=error.param) from None

    def _handle_signals(self) -> None:
        loop = asyncio.get_running_loop()
        main = asyncio.current_task()
        on_terminal = sys.stdin is not None and sys.stdin.isatty()

        def stop(name: str) -> None:
            if not self._stopping.is_set():
                _log.info("%s: stopping; running requests get %g s", name, self._settings.shutdown_grace_s)
                self._stopping.set()
            elif main is not None and not self._forced:
                self._forced = True
                main.cancel()

        def hang_up() -> None:
            if on_terminal and _terminal_is_gone():
                stop("terminal closed")
            else:
                task = loop.create_task(self.reload(), name="reload")
                self._reloads.add(task)
                task.add_done_callback(self._reloads.discard)

        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, stop, number.name)
        loop.add_signal_handler(signal.SIGHUP, hang_up)

    def _say_ready(self) -> None:
        models = self._runtime.models()
        count = len(models)
        _log.info(
            "edge-agent %s is ready on %s (%s, profile %s, %s)",
            self.version,
            self._url,
            self._board.model,
            self._profile.name,
            _counted(count, "model"),
        )
        notify(f"READY=1\nSTATUS={self._url}, {_counted(count, 'model')}")
        if sys.stdout.isatty():
            program = own_name(str(Path(sys.executable).with_name("edge-agent")), Path.cwd())
            tasks = {model.task for model in models}
            print(what_next(self._url, program, tasks, needs_key=bool(self._keys)), flush=True)

    async def _shut_down(self) -> None:
        grace_s = self._settings.shutdown_grace_s
        self._listener.refuse()
        last_words_s = min(LAST_WORDS_S, grace_s)
        streams = self._http[CONNECTIONS].streams
        await self._updates.close()  # before what it uses
        goodbyes = [] if self._fleet is None else [self._fleet.close()]
        await asyncio.gather(self._listening.close(last_words_s), streams.wait_idle(last_words_s), *goodbyes)
        async with asyncio.TaskGroup() as group:
            group.create_task(self._runtime.stop(grace_s), name="stop runtime")
            group.create_task(self._listener.close(grace_s), name="stop listener")
        self._library.stop()
        _log.info("stopped")


def _terminal_is_gone() -> bool:
    """SIGHUP is also what the kernel sends when the terminal that we were started on is closed."""
    try:
        os.tcgetpgrp(sys.stdin.fileno())
    except OSError:
        return True
    return False


def _counted(count: int, noun: str) -> str:
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"
