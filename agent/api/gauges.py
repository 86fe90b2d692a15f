"""What Prometheus sees of the runtime, of the microphone and of the connections, read at the moment it asks."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Protocol

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

from agent.api.connection import ConnectionCount
from agent.runtime.snapshot import ModelSnapshot, RuntimeSnapshot

if TYPE_CHECKING:
    from agent.runtime.service import Runtime
    from agent.speech.listening import Listening

STATES = ("unloaded", "loading", "ready", "unloading", "backoff", "failed")


class LinkFigures(Protocol):
    """The line to the MQTT broker; counts are since the start."""

    @property
    def connected(self) -> bool: ...
    @property
    def reconnects(self) -> int: ...
    @property
    def attempts_failed(self) -> int: ...
    @property
    def in_flight(self) -> int: ...
    @property
    def sent_messages(self) -> int: ...
    @property
    def received_messages(self) -> int: ...
    @property
    def sent_bytes(self) -> int: ...
    @property
    def received_bytes(self) -> int: ...


class OutboxFigures(Protocol):
    """What telemetry waits to be sent. `dropped` and `expired` are by type."""

    @property
    def samples(self) -> int: ...
    @property
    def disk_bytes(self) -> int: ...
    @property
    def dropped(self) -> Mapping[str, int]: ...
    @property
    def expired(self) -> Mapping[str, int]: ...


class FleetFigures(Protocol):
    """Without telemetry there is no `outbox`."""

    @property
    def link(self) -> LinkFigures: ...
    @property
    def outbox(self) -> OutboxFigures | None: ...


class EnergyFigures(Protocol):
    """What requests cost, by model and task, since the start."""

    @property
    def joules_by_payer(self) -> Mapping[tuple[str, ...], float]: ...


class DecisionFigures(Protocol):
    """What the governor decided last."""

    @property
    def rung(self) -> int: ...
    @property
    def threads(self) -> int: ...
    @property
    def pause_ratio(self) -> float: ...
    @property
    def admit(self) -> bool: ...


class GovernorFigures(Protocol):
    """Without a decision it is off. `changes` are since the start."""

    @property
    def decision(self) -> DecisionFigures | None: ...
    @property
    def changes(self) -> int: ...
    @property
    def celsius(self) -> float | None: ...


class RuntimeGauges(Collector):
    def __init__(
        self,
        runtime: Runtime,
        connections: ConnectionCount,
        listening: Listening,
        fleet: FleetFigures | None = None,
        energy: EnergyFigures | None = None,
        governor: GovernorFigures | None = None,
    ) -> None:
        self._governor = governor
        self._fleet = fleet
        self._energy = energy
        self._runtime = runtime
        self._connections = connections
        self._listening = listening

    def describe(self) -> list[Metric]:
        """Nothing, so that registering does not need a running runtime."""
        return []

    def collect(self) -> Iterator[Metric]:
        snapshot = self._runtime.snapshot()
        yield from _queue(snapshot)
        yield from _memory(snapshot)
        yield from _models(snapshot.models)
        yield _joules(snapshot.models, {} if self._energy is None else self._energy.joules_by_payer)
        yield from _microphone(self._listening)
        if self._governor is not None:
            yield from _governing(self._governor)
        if self._fleet is not None:
            yield from _link(self._fleet.link)
            yield from _outbox(self._fleet.outbox)
        yield _gauge("edge_http_connections", "Open connections", self._connections.open)
        yield _gauge("edge_audio_streams", "Audio streams over WebSocket", self._connections.streams.active)
        yield _counter("edge_http_connections_refused", "Turned away by the guard", self._connections.refused)


def _queue(snapshot: RuntimeSnapshot) -> Iterator[Metric]:
    queue, counters = snapshot.queue, snapshot.counters
    waiting = GaugeMetricFamily("llm_queue_size", "Requests waiting, by priority", labels=["priority"])
    for name, count in (("high", queue.high), ("normal", queue.normal), ("low", queue.low)):
        waiting.add_metric([name], count)
    yield waiting
    yield _gauge("edge_queue_capacity", "Requests that may wait", queue.capacity)
    yield _counter("edge_queue_rejected", "Requests refused because the queue was full", counters.rejected)
    yield _counter("edge_queue_expired", "Requests whose deadline passed while they waited", counters.expired)
    yield _counter("edge_queue_wait_seconds", "Time that requests waited, summed up", counters.queued_s)
    yield _counter("edge_model_loads", "Times a model was loaded", counters.loads)
    yield _counter("edge_model_load_failures", "Times a model could not be loaded", counters.load_failures)
    yield _counter("edge_model_evictions", "Times an idle model made room for another", counters.evictions)


def _memory(snapshot: RuntimeSnapshot) -> Iterator[Metric]:
    ledger = snapshot.ledger
    yield _gauge("edge_memory_budget_bytes", "What all models may take together", ledger.budget_bytes)
    yield _gauge("edge_memory_available_bytes", "What the system could still give to models", ledger.available_bytes)
    yield _gauge("edge_memory_charged_bytes", "What the ledger has given out", ledger.charged_bytes)
    yield _gauge("edge_memory_held_bytes", "What the workers hold, as measured", ledger.held_bytes)


def _joules(models: tuple[ModelSnapshot, ...], joules: Mapping[tuple[str, ...], float]) -> Metric:
    text = "Energy spent on requests; 0 without a power meter"
    family = CounterMetricFamily("llm_joules", text, labels=["model", "task"])
    for payer in sorted({(model.name, model.task) for model in models} | joules.keys()):
        family.add_metric(payer, joules.get(payer, 0.0))
    return family


def _governing(governor: GovernorFigures) -> Iterator[Metric]:
    decision = governor.decision
    yield _gauge("edge_governor_active", "1 while the governor decides", decision is not None)
    yield _gauge("edge_governor_rung", "How far down its ladder; 0 is full speed", decision.rung if decision else 0)
    yield _gauge("edge_governor_admits", "0 while new work waits", decision.admit if decision else True)
    yield _gauge("edge_governor_pause_ratio", "Rest by work", decision.pause_ratio if decision else 0)
    yield _counter("edge_governor_changes", "Times it changed something", governor.changes)
    if decision is not None:
        yield _gauge("edge_governor_threads", "Threads that a model may use at most", decision.threads)
    if governor.celsius is not None:
        yield _gauge("edge_temperature_celsius", "Of the processor", governor.celsius)


def _microphone(listening: Listening) -> Iterator[Metric]:
    state, totals = listening.state, listening.totals
    factor = 0.0 if state.real_time_factor is None else state.real_time_factor
    yield _gauge("edge_microphone_open", "1 while the microphone is open and sound arrives", state.state == "open")
    yield _gauge("edge_microphone_listeners", "Who listens to the microphone", state.listeners)
    yield _gauge("edge_microphone_real_time_factor", "Time of the last pass over the sound it saw", factor)
    yield _counter("edge_microphone_openings", "Times the device was opened", totals.openings)
    yield _counter("edge_microphone_lost_samples", "Samples at 16 kHz that never arrived", totals.lost_samples)


def _link(link: LinkFigures) -> Iterator[Metric]:
    yield _gauge("edge_link_connected", "1 while an MQTT broker is connected", link.connected)
    yield _gauge("edge_link_in_flight", "Messages that the broker has not confirmed yet", link.in_flight)
    yield _counter("edge_link_reconnects", "Connections after the first", link.reconnects)
    yield _counter("edge_link_attempts_failed", "Attempts to connect that failed", link.attempts_failed)
    yield _counter("edge_link_sent_messages", "Messages that the broker has confirmed", link.sent_messages)
    yield _counter("edge_link_received_messages", "Messages from the broker", link.received_messages)
    yield _counter("edge_link_sent_bytes", "Sent to the broker, with MQTT's own packets", link.sent_bytes)
    yield _counter("edge_link_received_bytes", "Received from the broker", link.received_bytes)


def _outbox(outbox: OutboxFigures | None) -> Iterator[Metric]:
    if outbox is None:
        return
    yield _gauge("edge_outbox_samples", "Telemetry that has not arrived yet", outbox.samples)
    yield _gauge("edge_outbox_bytes", "What its files take on the disk", outbox.disk_bytes)
    for name, text, counts in (
        ("edge_outbox_dropped", "Samples that had to make room, or could not be sent", outbox.dropped),
        ("edge_outbox_expired", "Samples that became too old", outbox.expired),
    ):
        family = CounterMetricFamily(name, text, labels=["type"])
        for type, count in counts.items():
            family.add_metric([type], count)
        yield family


def _models(models: tuple[ModelSnapshot, ...]) -> Iterator[Metric]:
    """One line per model and metric; what only a loaded model knows is 0 without one."""
    active = GaugeMetricFamily("llm_active_requests", "Requests that a worker has", labels=["model"])
    batch = GaugeMetricFamily("llm_batch_size", "Sequences decoded together", labels=["model"])
    gpu = GaugeMetricFamily("llm_gpu_memory_bytes", "Device memory the model holds", labels=["model"])
    kv = GaugeMetricFamily("edge_model_kv_used_tokens", "Tokens in the KV cache", labels=["model"])
    prefix = GaugeMetricFamily("edge_model_prefix_cache_bytes", "Host memory of idle conversations", labels=["model"])
    resident = GaugeMetricFamily("edge_model_resident_bytes", "The worker's resident memory", labels=["model"])
    charged = GaugeMetricFamily("edge_model_charged_bytes", "What the ledger charges the model", labels=["model"])
    threads = GaugeMetricFamily("edge_model_threads", "Threads that generate", labels=["model"])
    state = GaugeMetricFamily("edge_model_state", "1 for the state the model is in", labels=["model", "state"])
    crashes = CounterMetricFamily("edge_worker_restarts", "Crashes of the model's worker", labels=["model"])
    for model in models:
        name, stats = [model.name], model.stats
        active.add_metric(name, model.running)
        batch.add_metric(name, stats.active_sequences if stats else 0)
        gpu.add_metric(name, stats.gpu_bytes if stats else 0)
        kv.add_metric(name, stats.kv_used_tokens if stats else 0)
        prefix.add_metric(name, stats.prefix_cache_bytes if stats else 0)
        resident.add_metric(name, stats.resident_bytes if stats else 0)
        charged.add_metric(name, model.charged_bytes)
        threads.add_metric(name, stats.threads if stats else 0)
        crashes.add_metric(name, model.crashes)
        for one in STATES:
            state.add_metric([model.name, one], one == model.state)
    yield from (active, batch, gpu, kv, prefix, resident, charged, threads, state, crashes)


def _gauge(name: str, text: str, value: float) -> Metric:
    return GaugeMetricFamily(name, text, value=value)


def _counter(name: str, text: str, value: float) -> Metric:
    return CounterMetricFamily(name, text, value=value)
