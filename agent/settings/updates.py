# ruff: noqa: RUF009 - `setting` makes a dataclass field
"""`[updates]` in agent.toml: where models come from, when they may come, and what a new one must keep to."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from agent.settings.declaration import setting


@dataclass(frozen=True, kw_only=True)
class UpdatesSettings:
    """Each also has a flag `--updates-...` and a variable `EDGE_AGENT_UPDATES_...`."""

    url: str | None = setting(
        "The repository of models: an `http://` or `https://` address, or `mqtt:` to get everything over the broker.",
        default=None,
        default_doc="none: no updates",
        flag="updates-url",
    )
    root_file: Path | None = setting(
        "The repository's root metadata (`1.root.json`) that this device trusts from the start.",
        default=None,
        flag="updates-root-file",
    )
    device_class: str | None = setting(
        "The class of this device; the repository may have other versions for it.",
        default=None,
        flag="updates-device-class",
    )
    windows: tuple[str, ...] = setting(
        "When updates may work, in local time, like `02:00-05:00` or `sat-sun 22:00-06:00`.",
        default=(),
        default_doc="always",
        flag="updates-window",
    )
    daily_mb: int | None = setting(
        "Most that is fetched in one day.",
        default=None,
        default_doc="no limit",
        unit="MB",
        minimum=1,
        maximum=16_777_216,
        flag="updates-daily-mb",
    )
    bandwidth_kb_s: float | None = setting(
        "Fastest that is fetched.",
        default=None,
        default_doc="no limit",
        unit="KB per second",
        minimum=1,
        maximum=16_777_216,
        flag="updates-bandwidth-kb-s",
    )
    metered: Literal["auto", "yes", "no"] = setting(
        "Whether the network costs money: then only what is small or urgent is fetched. `auto` asks NetworkManager,"
        " where there is one.",
        default="auto",
        flag="updates-metered",
    )
    metered_mb: float = setting(
        "What is small, on a metered network.",
        default=5.0,
        unit="MB",
        minimum=0,
        maximum=65_536,
        flag="updates-metered-mb",
    )
    battery_percent: float = setting(
        "Least charge of a battery that is not being charged.",
        default=30.0,
        unit="percent",
        minimum=0,
        maximum=100,
        flag="updates-battery-percent",
    )
    while_speaking: bool = setting(
        "Also try a model and switch to it while somebody speaks into the microphone.",
        default=False,
        flag="updates-while-speaking",
    )
    attempts: int = setting(
        "How often something that fails is tried, before the update is given up.",
        default=8,
        minimum=1,
        maximum=1000,
        flag="updates-attempts",
    )
    retry_first_s: float = setting(
        "Pause after the first attempt that failed; it doubles with each one.",
        default=60.0,
        unit="seconds",
        minimum=0.1,
        maximum=86_400,
        flag="updates-retry-first-s",
    )
    retry_cap_s: float = setting(
        "Longest pause between two attempts.",
        default=21_600.0,
        unit="seconds",
        minimum=1,
        maximum=604_800,
        flag="updates-retry-cap-s",
    )
    speed_ratio: float = setting(
        "Least speed of a new version, against the running one.",
        default=0.7,
        minimum=0,
        maximum=10,
        flag="updates-speed-ratio",
    )
    memory_ratio: float = setting(
        "Most memory that a new version takes, against the running one.",
        default=1.5,
        minimum=0.1,
        maximum=100,
        flag="updates-memory-ratio",
    )
    trial_timeout_s: float = setting(
        "How long loading and testing a new version may take.",
        default=1800.0,
        unit="seconds",
        minimum=5,
        maximum=86_400,
        flag="updates-trial-timeout-s",
    )
    probation_s: float = setting(
        "How long a new version is watched; then it stays.",
        default=900.0,
        unit="seconds",
        minimum=0,
        maximum=604_800,
        flag="updates-probation-s",
    )
    probation_requests: int = setting(
        "It also stays after so many requests that went well, without waiting for that.",
        default=50,
        minimum=1,
        maximum=1_000_000,
        flag="updates-probation-requests",
    )
    probation_crashes: int = setting(
        "So many crashes while it is watched bring the version before back.",
        default=1,
        minimum=1,
        maximum=1000,
        flag="updates-probation-crashes",
    )
    probation_error_percent: float = setting(
        "More failed requests than this, too.",
        default=20.0,
        unit="percent",
        minimum=0,
        maximum=100,
        flag="updates-probation-error-percent",
    )
    probation_error_requests: int = setting(
        "Fewer requests than this say nothing about errors.",
        default=5,
        minimum=1,
        maximum=1_000_000,
        flag="updates-probation-error-requests",
    )
    interruptions: int = setting(
        "A version during whose trial or probation the daemon was lost so often is rejected.",
        default=3,
        minimum=1,
        maximum=1000,
        flag="updates-interruptions",
    )
    keep_versions: int = setting(
        "Versions of a model that stay on the disk, the active one and the one before it among them; only versions"
        " that came as updates are removed.",
        default=2,
        minimum=2,
        maximum=1000,
        flag="updates-keep-versions",
    )
