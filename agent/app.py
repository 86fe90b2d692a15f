"""The composition root: settings in, a running daemon out. The only place where all parts meet."""

from __future__ import annotations

import asyncio
import logging
import os
import sys
import time
from collections.abc import Callable, Mapping
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
from agent.errors import ConfigError, EdgeAgentError, UnavailableError
from agent.governor_side import Governing
from agent.greeting import own_name, what_next
from agent.hardware import board as boards
from agent.hardware.governor.decision import Bounds
from agent.hardware.memory import budget_bytes, read_memory
from agent.hardware.profile import choose, load_profiles
from agent.heap import keep_trimmed, share_one_heap
from agent.instance import Instance, url_of
from agent.isolation_side import Isolation
from agent.logs import start_logging
from agent.meter_side import make_energy
from agent.models_side import Models
from agent.runtime.service import Runtime
from agent.runtime.spec import ModelSpec
from agent.search.library import Library
from agent.search.shelf import Shelf
from agent.service import watchdog
from agent.service.activation import inherited_sockets
from agent.service.cgroups import worker_groups
from agent.service.notify import notify
from agent.settings import Settings
from agent.signals import Signals
from agent.speech.cadence import Cadence
from agent.speech.listening import Listening
from agent.speech.live_engine import RuntimeEngine
from agent.speech.passes import TranscribeCall
from agent.speech.wanted import Wanted
from agent.starter.bundle import shipped_names
from agent.store.layout import StoredModel
from agent.store.store import Store
from agent.updates_side import OVER_MQTT, Updates
from agent.version import version
from agent.wiring import (
    api_settings,
    digests,
    limits,
    listening_settings,
    live_options,
    needing_restart,
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
    share_one_heap()  # each live stream's VAD takes megabytes for as long as it lasts, and they shall go back
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
        self._store = Store(settings.state_dir / "models", shipped=shipped_names())
        self._energy = make_energy(settings, self._profile.power.meter)
        self._runtime = Runtime(
            limits(settings),
            memory=self._budget_bytes,
            environment=worker_environment(os.environ),
            cells=worker_groups(),
            energy=self._energy,
        )
        self._models = Models(
            self._runtime,
            self._store,
            settings,
            profile=self._profile,
            budget_bytes=self._budget_bytes(0),
            cores=self._board.usable_cores,
        )
        self._keys = ApiKeys(digests(settings))
        self._library = Library(Shelf(settings.state_dir / "collections"), RuntimeEmbedder(self._runtime))
        cadence = Cadence()
        self._governor = self._governing(settings, cadence)
        self._isolation = Isolation(self._runtime)
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
            cores=self._board.usable_cores,
            pipe=self._blocks,
        )
        self._fleet = self._fleet_side() if settings.mqtt.url else None
        if self._fleet is not None:
            self._updates.on_change(self._fleet.models_changed)
        self._http = make_app(
            self._runtime,
            self._store,
            api_settings(settings, self._models.sampling),
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
        self._signals = Signals(self._stopping, reload=self.reload, grace_s=lambda: self._settings.shutdown_grace_s)
        self.wants_restart = False

    async def run(self, instance: Instance) -> None:
        """Serves until told to stop, then lets running requests finish. Raises `EdgeAgentError` if it cannot start."""
        settings = self._settings
        self._signals.handle()
        for name in unknown_variables(os.environ):
            _log.warning("the environment variable %s sets nothing", name)
        self._models.serve(self._models.plan(settings), settings)
        self._url = url_of(settings.host, await self._listen(settings.host, settings.port))
        instance.announce(self._url, self.version)
        feeding = asyncio.create_task(watchdog.feed(self._runtime.hung), name="watchdog")
        watching = [
            asyncio.create_task(self._energy.run(), name="energy"),
            asyncio.create_task(self._governor.run(), name="governor"),
            asyncio.create_task(self._isolation.run(), name="isolation"),
            asyncio.create_task(keep_trimmed(), name="heap"),
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
            if not self._signals.forced:
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
            "rollback": self._models.rollbacks(),
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
            "isolation": self._isolation.status(),
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
            specs = await asyncio.to_thread(self._models.plan, self._settings)
            self._models.serve(specs, self._settings)
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
                specs = await asyncio.to_thread(self._models.plan, new)
                self._updates.apply(new.updates)
                self._models.serve(specs, new)
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

    def spec_of(self, model: StoredModel) -> ModelSpec | None:
        """How a version would run if it were the active one; None where this device cannot."""
        return self._models.spec_of(model)

    def served_from(self, name: str) -> Path | None:
        """The file that a model is served from in place of the store."""
        return self._models.served_from(name)

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
        from agent.fleet_side import make_fleet

        device = LocalDevice(
            self,
            self._runtime,
            self._listening,
            board=self._board,
            match=self._match,
            profile=self._profile,
            state_dir=self._settings.state_dir,
            updates=self._updates,
        )
        return make_fleet(
            self._settings,
            device,
            self._runtime,
            self._store,
            version=self.version,
            board=self._board,
            heat=self._profile.thermal,
            sampling=self._models.sampling,
            meter=self._energy,
            governor=self._isolation.beside(self._governor),
            updates=self._updates,
            blocks=self._blocks,
            plug=self._energy,
        )

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

    def _budget_bytes(self, held_bytes: int) -> int:
        return budget_bytes(read_memory(), self._profile.memory, held_bytes=held_bytes)

    async def _listen(self, host: str, port: int) -> int:
        try:
            return await self._listener.open(host, port, keys=self._keys, inherited=inherited_sockets())
        except ConfigError as error:
            if error.param != "port":
                raise
            raise UnavailableError(error.message, hint=error.hint, param=error.param) from None

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


def _counted(count: int, noun: str) -> str:
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"
