"""What clients are told when a model, or the worker that has their request, fails them."""

from __future__ import annotations

from agent.errors import (
    DeadlineError,
    EdgeAgentError,
    LoadTimeoutError,
    MemoryBudgetError,
    ModelFailedError,
    ModelLoadError,
    QueueFullError,
    ShuttingDownError,
    UnavailableError,
    WorkerCrashedError,
    by_code,
)
from agent.runtime.wire.errors import WireError


def another(error: EdgeAgentError) -> EdgeAgentError:
    """An equal exception to raise elsewhere: one instance raised in many tasks would collect their tracebacks."""
    if isinstance(error, QueueFullError):
        return type(error)(error.message, retry_after_s=error.retry_after_s, hint=error.hint, param=error.param)
    return type(error)(error.message, hint=error.hint, param=error.param)


def error_from_wire(error: WireError) -> EdgeAgentError:
    """The exception that the worker raised, as its own class again."""
    return by_code(error.code)(error.message, hint=error.hint, param=error.param)


def load_error(error: WireError) -> EdgeAgentError:
    """A load that failed is never the fault of the request that waits for it, whatever the worker calls it."""
    cause = error_from_wire(error)
    if isinstance(cause, (ModelLoadError, MemoryBudgetError)):
        return cause
    return ModelLoadError(cause.message, hint=cause.hint)


def deadline_error(name: str, waited_s: float, why: str = "") -> DeadlineError:
    return DeadlineError(
        f"The request waited {waited_s:.1f} s for model {name}, and its deadline passed.{why}",
        hint="Send it again later, or with a later deadline.",
    )


def crashed(name: str, reason: str) -> WorkerCrashedError:
    """For a request that ran. `reason` is `worker.Exit`'s."""
    return WorkerCrashedError(
        f"The worker of model {name} was lost while this request ran: {reason}.",
        hint="It is safe to send the request again.",
    )


def crashed_too_often(name: str, crashes: int, reason: str, *, too_long: bool = False) -> ModelFailedError:
    """`too_long`: the last one was ended because its load took too long."""
    lost = f"{crashes} workers in a row were lost, the last one" if crashes > 1 else "its worker was lost: it"
    kind = LoadTimeoutError if too_long else ModelFailedError
    return kind(
        f"Model {name} is out of service: {lost} {reason}.",
        hint=f"See the log for the cause, then load it again: POST /models/{name}/load.",
    )


def internal(name: str, error: Exception) -> ModelFailedError:
    return ModelFailedError(f"Model {name} is out of service: internal error {error!r}.")


def unloaded_too_early(name: str) -> UnavailableError:
    return UnavailableError(f"Model {name} was unloaded before it was ready.")


def stopping(*, hint: str = "") -> ShuttingDownError:
    return ShuttingDownError("The daemon is shutting down.", hint=hint)
