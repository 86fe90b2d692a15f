"""Every error that edge-agent raises on purpose, with the HTTP status it becomes and a hint for whoever must act.

EdgeAgentError                       500
├── ConfigError                      500  a setting is unknown, of the wrong type, or out of range
├── RequestError                     400  the request itself is wrong
│   ├── ContextOverflowError         400  the prompt does not fit the model's context
│   ├── UnauthorizedError            401
│   ├── ForbiddenError               403  a Host or Origin that is not allowed
│   ├── NotFoundError                404
│   │   └── ModelNotFoundError       404
│   └── TooLargeError                413
├── QueueFullError                   429  carries retry_after_s
│   └── OverloadedError              503  the device has no memory to spare just now
├── StoreError                       500  something on disk is missing or wrong
│   ├── ArtifactError                400  the artifact being imported is not acceptable
│   ├── HashMismatchError            500
│   └── DiskFullError                507
├── EngineError                      500  the engine could not do what was asked
│   ├── ModelLoadError               500  the model cannot be loaded: corrupt, unsupported
│   └── WorkerCrashedError           503  the worker died with the request in it; safe to send again
├── PublishRefusedError              502  the broker refused a message; says whether to try again
├── UpdateError                      502  a step of a model update failed; says whether to try again
│   └── UntrustedError               502  what the repository sent is not what was signed, or not by whom
├── UnavailableError                 503
│   ├── DeadlineError                503  the request's deadline passed before it could run
│   ├── ModelFailedError             503  the model crashed too often and waits for someone to act
│   │   └── LoadTimeoutError         503  the last of its workers was ended: its load took too long
│   ├── NotConnectedError            503  no broker is connected, or it was lost before it confirmed; safe to send again
│   └── ShuttingDownError            503
└── MemoryBudgetError                507  the model cannot fit; the message carries the arithmetic
"""

from __future__ import annotations

from typing import ClassVar


class EdgeAgentError(Exception):
    """Base of the tree.

    `message` is one sentence that says what is wrong; `hint` one that says what to do. `param` names the request
    field or the configuration key at fault, where there is one.
    """

    status: ClassVar[int] = 500
    code: ClassVar[str] = "internal_error"

    def __init__(self, message: str, *, hint: str = "", param: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint
        self.param = param

    def __str__(self) -> str:
        return f"{self.message} {self.hint}".strip()


class ConfigError(EdgeAgentError):
    code = "invalid_config"


class RequestError(EdgeAgentError):
    status = 400
    code = "invalid_request"


class ContextOverflowError(RequestError):
    code = "context_length_exceeded"


class UnauthorizedError(RequestError):
    status = 401
    code = "invalid_api_key"


class ForbiddenError(RequestError):
    status = 403
    code = "forbidden"


class NotFoundError(RequestError):
    status = 404
    code = "not_found"


class ModelNotFoundError(NotFoundError):
    code = "model_not_found"


class TooLargeError(RequestError):
    status = 413
    code = "request_too_large"


class QueueFullError(EdgeAgentError):
    status = 429
    code = "queue_full"

    def __init__(self, message: str, *, retry_after_s: float, hint: str = "", param: str | None = None) -> None:
        super().__init__(message, hint=hint, param=param)
        self.retry_after_s = retry_after_s


class OverloadedError(QueueFullError):
    status = 503
    code = "overloaded"


class StoreError(EdgeAgentError):
    code = "store_error"


class ArtifactError(StoreError):
    status = 400
    code = "invalid_artifact"


class HashMismatchError(StoreError):
    code = "hash_mismatch"


class DiskFullError(StoreError):
    status = 507
    code = "disk_full"


class EngineError(EdgeAgentError):
    code = "engine_error"


class ModelLoadError(EngineError):
    code = "model_load_failed"


class WorkerCrashedError(EngineError):
    status = 503
    code = "worker_crashed"


class PublishRefusedError(EdgeAgentError):
    """`temporary`: the same message may be taken later."""

    status = 502
    code = "publish_refused"

    def __init__(self, message: str, *, temporary: bool = False, hint: str = "", param: str | None = None) -> None:
        super().__init__(message, hint=hint, param=param)
        self.temporary = temporary


class UpdateError(EdgeAgentError):
    """`retry`: the same may work later, so it is worth another of the attempts."""

    status = 502
    code = "update_failed"

    def __init__(self, message: str, *, retry: bool = False, hint: str = "", param: str | None = None) -> None:
        super().__init__(message, hint=hint, param=param)
        self.retry = retry


class UntrustedError(UpdateError):
    code = "untrusted"


class UnavailableError(EdgeAgentError):
    status = 503
    code = "unavailable"


class NotConnectedError(UnavailableError):
    code = "not_connected"


class DeadlineError(UnavailableError):
    code = "deadline_exceeded"


class ModelFailedError(UnavailableError):
    code = "model_failed"


class LoadTimeoutError(ModelFailedError):
    """For a client it is the same, so it has the same code. Who tries a candidate asks who is to blame."""


class ShuttingDownError(UnavailableError):
    code = "shutting_down"


class MemoryBudgetError(EdgeAgentError):
    status = 507
    code = "insufficient_memory"


def by_code(code: str) -> type[EdgeAgentError]:
    """The class whose `code` this is, for an error that crossed a process boundary; the base class if unknown."""
    pending: list[type[EdgeAgentError]] = [EdgeAgentError]
    while pending:
        candidate = pending.pop()
        if candidate.code == code and not issubclass(candidate, QueueFullError):
            return candidate
        pending.extend(candidate.__subclasses__())
    return EdgeAgentError
