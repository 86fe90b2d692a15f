"""Profiles: one TOML file per board with the numbers that suit it, and the choice of the one for this board."""

from __future__ import annotations

import dataclasses
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

from agent.errors import ConfigError
from agent.hardware import flags, schema
from agent.hardware.board import Board
from agent.hardware.sections import (
    MIB,
    Build,
    Llama,
    MatchRules,
    MemoryShare,
    Onnx,
    Power,
    Recommend,
    Speech,
    Thermal,
    ThreadCounts,
)

Overrides = Mapping[str, Any]
"""`{"llama": {"context_tokens": 8192}}` or `{"llama.context_tokens": 8192}`."""


@dataclass(frozen=True, kw_only=True)
class Profile:
    """A board's numbers. As loaded, zeros and `llama.by_memory` stand for what `resolve` works out for one board."""

    name: str
    match: MatchRules
    build: Build
    threads: ThreadCounts
    memory: MemoryShare
    llama: Llama
    onnx: Onnx
    speech: Speech
    thermal: Thermal
    power: Power
    recommend: Recommend

    def resolve(self, board: Board, overrides: Overrides | None = None, *, source: str = "the overrides") -> Profile:
        """This profile with concrete numbers for `board`: threads counted, context chosen, CMAKE_ARGS complete.

        `overrides` change single keys; `source` names where they came from in errors. Threads are capped at the cores
        that this process may use, also when overridden: ggml with more threads than cores gives 0.12 tokens/s instead
        of 10 on a Pi 5 (llama.cpp issue 13079). Raises `ConfigError` for a key, type or value that is not allowed.
        """
        memory_mb = board.memory_ceiling_bytes // MIB
        step = max((s for s in self.llama.by_memory if s.at_least_mb <= memory_mb), key=lambda s: s.at_least_mb)
        chosen = dataclasses.asdict(step)
        del chosen["at_least_mb"]
        profile = dataclasses.replace(self, llama=dataclasses.replace(self.llama, **chosen))
        profile = _override(profile, overrides or {}, source)
        _check_order(profile, source)
        return dataclasses.replace(
            profile,
            build=dataclasses.replace(profile.build, cmake_args=flags.cmake_args(profile.build, board)),
            threads=ThreadCounts(
                generation=_threads(profile.threads.generation, board),
                batch=_threads(profile.threads.batch, board),
            ),
            onnx=dataclasses.replace(profile.onnx, threads=_threads(profile.onnx.threads, board)),
        )


@dataclass(frozen=True)
class Match:
    """The profile for a board and, in one sentence, why it is that one."""

    profile: Profile
    reason: str


def profile_folder() -> Path:
    """`agent/hardware/boards` of an installed wheel, else `profiles` of a checkout."""
    packaged = Path(__file__).with_name("boards")
    return packaged if packaged.is_dir() else Path(__file__).resolve().parents[2] / "profiles"


def load_profiles(folder: Path | None = None) -> list[Profile]:
    """Every profile in `folder`, by name. Raises `ConfigError` for a bad file, or when there is none at all."""
    folder = folder or profile_folder()
    profiles = [load_profile(path) for path in sorted(folder.glob("*.toml"))]
    if not profiles:
        raise ConfigError(f"There is no profile in {folder}.", hint="Install edge-agent again.")
    return profiles


def load_profile(path: Path) -> Profile:
    """One profile; its name is the file's. Raises `ConfigError` naming the file, key, value and what was expected."""
    try:
        table = tomllib.loads(path.read_text("utf-8"))
    except OSError as error:
        raise ConfigError(f"{path} cannot be read: {error.strerror}.") from error
    except ValueError as error:  # TOMLDecodeError and UnicodeDecodeError
        raise ConfigError(f"{path} is not TOML: {error}.") from error
    if "name" in table:
        raise schema.unknown_key("name", list(schema.fields(Profile))[1:], path.name)
    profile = schema.read(Profile, {"name": path.stem, **table}, source=path.name)
    _check_steps(profile, path.name)
    _check_order(profile, path.name)
    return profile


def choose(board: Board, profiles: Sequence[Profile], name: str | None = None) -> Match:
    """The most specific of the profiles that match, or the one called `name`.

    An entry of the device tree's `compatible` weighs most (the earlier in the board's list, the more), then the model's
    name, then a GPU. Raises `ConfigError` for an unknown name, or when nothing matches.
    """
    names = ", ".join(sorted(profile.name for profile in profiles))
    if name is not None:
        for profile in profiles:
            if profile.name == name:
                return Match(profile, f"it was asked for by name, on {board.model}.")
        raise ConfigError(f"There is no profile {name!r}; expected one of {names}.", param="profile")
    scored = [(*scores, profile) for profile in profiles if (scores := _score(profile.match, board)) is not None]
    if not scored:
        raise ConfigError(
            f"No profile matches {board.model} ({board.architecture}, {board.system}).",
            hint=f"Choose one with --profile: {names}.",
            param="profile",
        )
    _, reason, profile = max(scored, key=lambda entry: (entry[0], entry[2].name))
    return Match(profile, reason)


def _score(rules: MatchRules, board: Board) -> tuple[int, str] | None:
    """How specific a match is, and the sentence for it; None where a rule does not hold."""
    if rules.system != board.system or board.architecture not in rules.architecture:
        return None
    kind = board.gpu.kind if board.gpu else None
    if rules.gpu not in ("any", kind):
        return None
    score = 10 * (rules.gpu != "any")
    if rules.compatible or rules.model:
        for index, entry in enumerate(board.compatible):
            if any(fnmatchcase(entry, pattern) for pattern in rules.compatible):
                return score + 2000 - min(index, 900), f"the device tree says it is compatible with {entry}."
        if any(fnmatchcase(board.model, pattern) for pattern in rules.model):
            return score + 100, f"the model is {board.model}."
        return None
    if rules.gpu != "any" and board.gpu is not None:
        return score, f"it has a GPU for {rules.gpu.upper() if rules.gpu == 'cuda' else 'Metal'}: {board.gpu.name}."
    return (
        score,
        f"there is none for {board.model} in particular, and this one is for any {board.architecture} machine.",
    )


def _threads(wanted: int, board: Board) -> int:
    return max(1, min(wanted or board.usable_performance_cores or board.usable_cores, board.usable_cores))


def _override(profile: Profile, overrides: Overrides, source: str) -> Profile:
    for key, value in _flat(overrides, source):
        section_name, _, name = key.partition(".")
        section = getattr(profile, section_name, None) if section_name not in ("name", "match") else None
        if section is None or not dataclasses.is_dataclass(section) or isinstance(section, type):
            raise schema.unknown_key(
                section_name, [n for n in schema.fields(Profile) if n not in ("name", "match")], source
            )
        kind = type(section)
        if name not in schema.fields(kind) or name == "by_memory":
            raise schema.unknown_key(key, [n for n in schema.fields(kind) if n != "by_memory"], source)
        checked = schema.check(schema.hints(kind)[name], value, source=source, key=key)
        changed: dict[str, Any] = {section_name: dataclasses.replace(section, **{name: checked})}
        profile = dataclasses.replace(profile, **changed)
    return profile


def _flat(overrides: Overrides, source: str) -> list[tuple[str, object]]:
    pairs: list[tuple[str, object]] = []
    for key, value in overrides.items():
        if isinstance(value, Mapping):
            pairs += [(f"{key}.{name}", part) for name, part in value.items()]
        elif "." in key:
            pairs.append((key, value))
        else:
            raise ConfigError(f"{source}: {key} is {value!r}; expected a table.", param=key)
    return pairs


def _check_steps(profile: Profile, source: str) -> None:
    steps = [step.at_least_mb for step in profile.llama.by_memory]
    if not steps or steps[0] != 0 or steps != sorted(set(steps)):
        raise ConfigError(
            f"{source}: llama.by_memory has at_least_mb {steps}; expected rows that rise from 0.",
            param="llama.by_memory",
        )


def _check_order(profile: Profile, source: str) -> None:
    """Pairs of keys that must be in order."""
    llama, thermal = profile.llama, profile.thermal
    for low_name, low, high_name, high in (
        ("llama.micro_batch_tokens", llama.micro_batch_tokens, "llama.batch_tokens", llama.batch_tokens),
        (
            "thermal.soft_limit_celsius",
            thermal.soft_limit_celsius,
            "thermal.hard_limit_celsius",
            thermal.hard_limit_celsius,
        ),
    ):
        if low > high:
            raise ConfigError(f"{source}: {low_name} is {low}; expected at most {high_name}, {high}.", param=low_name)
