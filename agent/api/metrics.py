"""`GET /metrics`: counters that requests feed, and gauges read from the runtime when asked. docs/http.md lists them."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from aiohttp import web
from prometheus_client import CollectorRegistry, Counter, Histogram, ProcessCollector, disable_created_metrics
from prometheus_client.exposition import generate_latest

from agent.api.access import ClientGoneError, Record
from agent.api.gauges import EnergyFigures, FleetFigures, GovernorFigures, RuntimeGauges
from agent.api.parts import METRICS
from agent.errors import EdgeAgentError

if TYPE_CHECKING:
    from agent.api.connection import ConnectionCount
    from agent.runtime.service import Runtime
    from agent.speech.listening import Listening

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"

DURATION_BUCKETS_S = (0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 20, 40, 80, 160, 320, 640)
FIRST_TOKEN_BUCKETS_S = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120)
"""From a cached prefix on a GPU to a full context on a Pi."""
TOKENS_PER_SECOND_BUCKETS = (0.5, 1, 2, 3, 5, 7.5, 10, 15, 20, 30, 50, 75, 100, 200, 500)
"""From a 7B model on a Pi 4 (0.7) to a small one on an Orin."""


class ModelMetrics:
    """The series of one model, looked up once."""

    def __init__(self, metrics: Metrics, model: str) -> None:
        self._requests = metrics.requests.labels(model)
        self._succeeded = metrics.succeeded.labels(model)
        self._cancelled = metrics.cancelled.labels(model)
        self._failed = metrics.failed
        self._duration = metrics.duration.labels(model)
        self._first_token = metrics.first_token.labels(model)
        self._generated = metrics.generated.labels(model)
        self._prompt = metrics.prompt.labels(model)
        self._cached = metrics.cached.labels(model)
        self._rate = metrics.rate.labels(model)
        self._model = model

    def started(self) -> None:
        self._requests.inc()

    def tokens(self, count: int) -> None:
        """New tokens, as they come."""
        self._generated.inc(count)

    def finished(self, record: Record, error: BaseException | None) -> None:
        """Counts how a request ended: well, by the client's leave, or with an error."""
        if isinstance(error, asyncio.CancelledError | ClientGoneError | GeneratorExit):
            self._cancelled.inc()
        elif error is not None:
            self._failed.labels(
                self._model, error.code if isinstance(error, EdgeAgentError) else "internal_error"
            ).inc()
        else:
            self._succeeded.inc()
        self._duration.observe(record.elapsed_s())
        if record.first_token_s is not None:
            self._first_token.observe(record.first_token_s)
        if record.prompt_tokens is not None:
            self._prompt.inc(record.prompt_tokens)
            self._cached.inc(record.cached_tokens or 0)
        if record.tokens_per_second is not None:
            self._rate.observe(record.tokens_per_second)


class Metrics:
    """All series of this daemon, in a registry of their own."""

    def __init__(
        self,
        runtime: Runtime,
        connections: ConnectionCount,
        listening: Listening,
        fleet: FleetFigures | None = None,
        energy: EnergyFigures | None = None,
        governor: GovernorFigures | None = None,
    ) -> None:
        disable_created_metrics()  # type: ignore[no-untyped-call]
        self._registry = registry = CollectorRegistry()
        self._runtime = runtime
        self._models: dict[str, ModelMetrics] = {}

        def counter(name: str, text: str, *labels: str) -> Counter:
            return Counter(name, text, ("model", *labels), registry=registry)

        def histogram(name: str, text: str, buckets: tuple[float, ...]) -> Histogram:
            return Histogram(name, text, ("model",), buckets=buckets, registry=registry)

        self.requests = counter("llm_requests_total", "Requests for a model's work, whatever became of them")
        self.succeeded = counter("llm_requests_success_total", "Requests answered in full")
        self.failed = counter("llm_requests_failed_total", "Requests that ended with an error", "code")
        self.cancelled = counter("llm_requests_cancelled_total", "Requests whose client left before the end")
        self.generated = counter("llm_tokens_generated_total", "Tokens sampled")
        self.prompt = counter("llm_prompt_tokens_total", "Prompt tokens of finished requests, cached ones included")
        self.cached = counter("llm_prompt_tokens_cached_total", "Prompt tokens that did not have to be computed again")
        self.duration = histogram(
            "llm_request_duration_seconds",
            "From the end of a request's headers to the end of its answer",
            DURATION_BUCKETS_S,
        )
        self.first_token = histogram(
            "llm_time_to_first_token_seconds",
            "From the end of a request's headers to its first token",
            FIRST_TOKEN_BUCKETS_S,
        )
        self.rate = histogram("llm_tokens_per_second", "Decode speed of a finished request", TOKENS_PER_SECOND_BUCKETS)
        registry.register(RuntimeGauges(runtime, connections, listening, fleet, energy, governor))
        ProcessCollector(namespace="edge", registry=registry)

    def of(self, model: str) -> ModelMetrics:
        """The series of `model`, which must be the name of a known model: labels are never made of requests."""
        found = self._models.get(model)
        if found is None:
            found = self._models[model] = ModelMetrics(self, model)
        return found

    def text(self) -> bytes:
        """Everything in Prometheus's text format; a model without requests shows zeros."""
        for model in self._runtime.models():
            self.of(model.name)
        return generate_latest(self._registry)


async def metrics(request: web.Request) -> web.Response:
    body = request.app[METRICS].text()
    return web.Response(body=body, headers={"Content-Type": CONTENT_TYPE})
