"""What the HTTP side can be told. `agent.app` fills it from `agent.settings`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path


@dataclass(frozen=True, kw_only=True)
class ApiSettings:
    """Limits, and who may call. Every default suits one small board with a handful of clients.

    `hosts` are Host names accepted besides loopback and the address the connection came in on; `origins` are web
    origins (`https://home.example`) that browsers may call from. `"*"` in either accepts all.
    A WebSocket is pinged after `websocket_ping_s` without a message, and cut off after as long without an answer; an
    audio stream is ended after `stream_silence_s` without sound.
    Audio files are received in `upload_folder`, without a name there; None is the system's folder for such.
    `sampling` holds a model's own defaults by `wire.generation.Sampling` field.
    """

    hosts: tuple[str, ...] = ()
    origins: tuple[str, ...] = ()
    body_limit_bytes: int = 8 * 1024 * 1024
    audio_limit_bytes: int = 1024 * 1024 * 1024
    upload_folder: Path | None = None
    head_limit_bytes: int = 16 * 1024
    head_timeout_s: float = 10.0
    body_timeout_s: float = 60.0
    write_timeout_s: float = 30.0
    keep_alive_s: float = 75.0
    websocket_ping_s: float = 20.0
    stream_silence_s: float = 120.0
    connection_limit: int = 768
    request_timeout_s: float = 300.0
    choice_limit: int = 16
    prompt_limit: int = 32
    input_limit: int = 2048
    file_limit: int = 4
    file_capacity: int = 32
    sampling: Mapping[str, Mapping[str, float | int]] = field(default_factory=dict)
