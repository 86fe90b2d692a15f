"""Where settings come from: a flag, else `EDGE_AGENT_<NAME>`, else agent.toml, else the default.

An unknown key, a wrong type or a value out of range raises `ConfigError`, which names the key, the value, the place it
stands in and what was expected there.
"""

from __future__ import annotations

import os
import re
import tomllib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from agent.errors import ConfigError
from agent.settings import (
    ApiKey,
    Declaration,
    LoraSettings,
    ModelSettings,
    MqttSettings,
    SamplingSettings,
    Settings,
    UpdatesSettings,
    declarations,
)
from agent.settings import flags as every_flag
from agent.settings.daemon import forever
from agent.settings.declaration import unknown_key
from agent.settings.mqtt_operations import OPERATIONS, OperationSettings, operation_settings
from agent.settings.mqtt_telemetry import telemetry_settings

SYSTEM_FILE = Path("/etc/edge-agent/agent.toml")
CONFIG_VARIABLE = "EDGE_AGENT_CONFIG"
API_KEY_VARIABLE = "EDGE_AGENT_API_KEY"
CACHE_VARIABLE = "EDGE_AGENT_CACHE_DIR"
"""Read by `agent.hardware.wheel` and the Makefile, before anything is installed."""

_TABLES = ("api_keys", "models", "mqtt", "profile", "updates")
_SHA256 = re.compile(r"[0-9a-f]{64}")
_MQTT_TABLES = ("operations", "telemetry")
_MODEL_TABLES = ("keep_alive_s", "lora", "sampling")


def load_settings(
    flags: Mapping[str, Any],
    *,
    config: Path | None = None,
    environment: Mapping[str, str] = os.environ,
    system_file: Path = SYSTEM_FILE,
) -> Settings:
    """All settings, checked. `flags` holds the raw text of flags by setting name (a list for repeated ones).

    Raises `ConfigError`, also when a file that was asked for cannot be read.
    """
    file = find_file(config, environment, system_file)
    raw = _read(file) if file else {}
    known = declarations(Settings)
    for key in raw:
        if key not in known and key not in _TABLES:
            raise unknown_key(key, [*known, *_TABLES], where=str(file))
    profile_name, overrides = _profile(raw.pop("profile", None), where=str(file))
    if profile_name is not None:
        raw["profile"] = profile_name

    values = _values(known, flags, environment, raw, file)
    values.setdefault("state_dir", default_state_dir(environment))
    idle_limit_s = forever(values.get("keep_alive_s", known["keep_alive_s"].default))
    return Settings(
        **values,
        api_keys=_api_keys(flags.get("api_keys"), environment.get(API_KEY_VARIABLE, ""), raw, str(file)),
        models=_models(raw.get("models", {}), idle_limit_s, file),
        mqtt=_mqtt(flags, environment, raw.get("mqtt", {}), file),
        updates=_updates(flags, environment, raw.get("updates", {}), file),
        profile_overrides=overrides,
        config_file=file,
    )


def find_file(config: Path | None, environment: Mapping[str, str], system_file: Path = SYSTEM_FILE) -> Path | None:
    """The agent.toml to read, absolute; None when there is none and none was asked for."""
    if config is not None:
        return config.expanduser().absolute()
    if named := environment.get(CONFIG_VARIABLE):
        return Path(named).expanduser().absolute()
    home = Path(environment.get("XDG_CONFIG_HOME") or Path.home() / ".config")
    for candidate in (system_file, home / "edge-agent" / "agent.toml"):
        if candidate.exists():
            return candidate
    return None


def default_state_dir(environment: Mapping[str, str]) -> Path:
    """systemd's `StateDirectory=` for the service, the XDG state folder for a person."""
    if given := environment.get("STATE_DIRECTORY"):
        return Path(given.split(":")[0])
    home = environment.get("XDG_STATE_HOME") or Path.home() / ".local" / "state"
    return Path(home) / "edge-agent"


def unknown_variables(environment: Mapping[str, str]) -> list[str]:
    """Variables named `EDGE_AGENT_...` that set nothing: misspelt, most likely."""
    known = {declaration.environment for declaration in every_flag().values()}
    known |= {CONFIG_VARIABLE, API_KEY_VARIABLE, CACHE_VARIABLE}
    return sorted(name for name in environment if name.startswith("EDGE_AGENT_") and name not in known)


def _read(file: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(file.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ConfigError(f"The configuration file {file} does not exist.", param="config") from None
    except OSError as error:
        raise ConfigError(f"The configuration file {file} cannot be read: {error.strerror}.", param="config") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"{file} is not valid TOML: {error}.", param="config") from None


def _values(
    known: Mapping[str, Declaration],
    flags: Mapping[str, Any],
    environment: Mapping[str, str],
    raw: Mapping[str, Any],
    file: Path | None,
    prefix: str = "",
) -> dict[str, Any]:
    """What is set of `known`: by flag, else by variable, else in `raw`, which is the table `prefix` of `file`."""
    values: dict[str, Any] = {}
    for name, declaration in known.items():
        flag = flags.get(f"{prefix}{name}")
        text = environment.get(declaration.environment, "")
        if flag is not None:
            texts = flag if isinstance(flag, list) else [flag]
            where = f"--{declaration.flag}"
            parsed = [declaration.parse(item, where=where, base=Path.cwd()) for item in texts]
            values[name] = tuple(one for many in parsed for one in many) if declaration.many else parsed[-1]
        elif text:
            values[name] = declaration.parse(text, where=f"${declaration.environment}", base=Path.cwd())
        elif name in raw and file:
            values[name] = declaration.check(raw[name], where=str(file), base=file.parent, key=f"{prefix}{name}")
    return values


def _profile(value: object, *, where: str) -> tuple[object, dict[str, Any]]:
    """`profile = "name"`, or a table of overrides in which `name` chooses the profile."""
    if not isinstance(value, dict):
        return value, {}
    overrides = {key: part for key, part in value.items() if key != "name"}
    for key, part in overrides.items():
        if not isinstance(part, dict):
            raise ConfigError(
                f"profile.{key} = {part!r} in {where}: expected a section with keys, like [profile.threads].",
                param=f"profile.{key}",
            )
    return value.get("name"), overrides


def _api_keys(flags: Iterable[str] | None, text: str, raw: Mapping[str, Any], where: str) -> tuple[ApiKey, ...]:
    """Keys of the highest source that has any, so that one on the command line replaces those of the file."""
    if flags:
        typed, source = list(flags), "--api-key"
    else:
        typed, source = [part.strip() for part in text.split(",") if part.strip()], f"${API_KEY_VARIABLE}"
    if typed:
        if not all(key.strip() for key in typed):
            raise ConfigError(f"api_keys in {source}: expected a key that is not empty.", param="api_keys")
        return tuple(ApiKey.of(key, f"key{number}") for number, key in enumerate(typed, 1))
    entries = raw.get("api_keys", [])
    if not isinstance(entries, list):
        raise ConfigError(f"api_keys in {where}: expected [[api_keys]] tables.", param="api_keys")
    keys = tuple(_api_key(entry, f"api_keys[{index}]", where) for index, entry in enumerate(entries))
    names = [key.name for key in keys]
    if twice := {name for name in names if names.count(name) > 1}:
        raise ConfigError(f"api_keys in {where}: {min(twice)!r} names two keys; expected one.", param="api_keys")
    return keys


def _api_key(entry: object, key: str, where: str) -> ApiKey:
    def wrong(expected: str, at: str = key) -> ConfigError:
        return ConfigError(f"{at} in {where}: expected {expected}.", param=at)

    if not isinstance(entry, dict):
        raise wrong("a table with name and key, or name and sha256")
    for part, value in entry.items():
        if part not in ("name", "key", "sha256"):
            raise unknown_key(f"{key}.{part}", ["name", "key", "sha256"], where=where)
        if not isinstance(value, str) or not value.strip():
            raise wrong("a string that is not empty", f"{key}.{part}")
    if "name" not in entry or ("key" in entry) == ("sha256" in entry):
        raise wrong("a name, and either key or sha256")
    if "key" in entry:
        return ApiKey.of(entry["key"], entry["name"])
    if not _SHA256.fullmatch(entry["sha256"].lower()):
        raise wrong("64 hexadecimal digits, as `printf %s KEY | sha256sum` prints them", f"{key}.sha256")
    return ApiKey(entry["name"], entry["sha256"].lower())


def _mqtt(flags: Mapping[str, Any], environment: Mapping[str, str], raw: object, file: Path | None) -> MqttSettings:
    if not isinstance(raw, dict):
        raise ConfigError(f"mqtt in {file}: expected a table, [mqtt].", param="mqtt")
    known = declarations(MqttSettings)
    for key in raw:
        if key not in known and key not in _MQTT_TABLES:
            raise unknown_key(f"mqtt.{key}", [*known, *_MQTT_TABLES], where=str(file))
    urls = raw.get("url")
    table = {**raw, "url": [urls]} if isinstance(urls, str) else raw
    values = _values(known, flags, environment, table, file, "mqtt.")
    if values.get("password") and values.get("password_file"):
        raise ConfigError("mqtt.password and mqtt.password_file are both set: expected one.", param="mqtt.password")
    if ("password" in values or "password_file" in values) and "username" not in values:
        raise ConfigError("mqtt.password or mqtt.password_file is set without mqtt.username.", param="mqtt.username")
    if values.get("key_file") and not values.get("cert_file"):
        raise ConfigError("mqtt.key_file is set without mqtt.cert_file.", param="mqtt.key_file")
    return MqttSettings(
        **values,
        operations=_operations(raw.get("operations", {}), file),
        telemetry=telemetry_settings(raw.get("telemetry", {}), where=str(file)),
    )


def _updates(
    flags: Mapping[str, Any], environment: Mapping[str, str], raw: object, file: Path | None
) -> UpdatesSettings:
    if not isinstance(raw, dict):
        raise ConfigError(f"updates in {file}: expected a table, [updates].", param="updates")
    known = declarations(UpdatesSettings)
    for key in raw:
        if key not in known:
            raise unknown_key(f"updates.{key}", known, where=str(file))
    hours = raw.get("windows")
    table = {**raw, "windows": [hours]} if isinstance(hours, str) else raw
    values = _values(known, flags, environment, table, file, "updates.")
    if values.get("url") and not values.get("root_file"):
        raise ConfigError(
            "updates.url is set without updates.root_file.",
            hint="The device must know whom it trusts: edge-convert keys shows where the repository's root file is.",
            param="updates.root_file",
        )
    return UpdatesSettings(**values)


def _operations(raw: object, file: Path | None) -> dict[str, OperationSettings]:
    """Every operation, with what `[mqtt.operations.NAME]` says of it."""
    if not isinstance(raw, dict):
        raise ConfigError(f"mqtt.operations in {file}: expected tables like [mqtt.operations.restart].", param="mqtt")
    for name in raw:
        if name not in OPERATIONS:
            raise unknown_key(f"mqtt.operations.{name}", OPERATIONS, where=str(file))
    return {
        name: operation_settings(
            name, _table(OperationSettings, raw[name], f"mqtt.operations.{name}", file) if name in raw and file else {}
        )
        for name in OPERATIONS
    }


def _models(raw: object, idle_limit_s: float | None, file: Path | None) -> dict[str, ModelSettings]:
    if not isinstance(raw, dict):
        raise ConfigError(f"models in {file}: expected tables like [models.NAME].", param="models")
    if file is None:
        return {}
    models = {name: _model(name, table, idle_limit_s, file) for name, table in raw.items()}
    owners: dict[str, str] = {name: name for name in models}
    for name, model in models.items():
        for alias in model.aliases:
            if (owner := owners.setdefault(alias, name)) != name:
                raise ConfigError(
                    f"models.{name}.aliases in {file}: {alias!r} already stands for {owner}.",
                    param=f"models.{name}.aliases",
                )
    return models


def _model(name: str, table: object, idle_limit_s: float | None, file: Path) -> ModelSettings:
    key, where, base = f"models.{name}", str(file), file.parent
    values = _table(ModelSettings, table, key, file, besides=_MODEL_TABLES)
    assert isinstance(table, dict)
    lora = table.get("lora", [])
    if not isinstance(lora, list):
        raise ConfigError(f"{key}.lora in {where}: expected a list like [{{path = ..., scale = 1.0}}].", param=key)
    if "keep_alive_s" in table:
        declaration = declarations(Settings)["keep_alive_s"]
        value = declaration.check(table["keep_alive_s"], where=where, base=base, key=f"{key}.keep_alive_s")
        idle_limit_s = forever(value)
    return ModelSettings(
        **values,
        keep_alive_s=idle_limit_s,
        lora=tuple(
            LoraSettings(**_table(LoraSettings, entry, f"{key}.lora[{index}]", file))
            for index, entry in enumerate(lora)
        ),
        sampling=SamplingSettings(**_table(SamplingSettings, table.get("sampling", {}), f"{key}.sampling", file)),
    )


def _table(cls: type, table: object, key: str, file: Path, besides: tuple[str, ...] = ()) -> dict[str, Any]:
    """The checked values of one TOML table of settings class `cls`; `besides` are keys that the caller reads itself."""
    if not isinstance(table, dict):
        raise ConfigError(f"{key} = {table!r} in {file}: expected a table.", param=key)
    known = declarations(cls)
    for part in table:
        if part not in known and part not in besides:
            raise unknown_key(f"{key}.{part}", [*known, *besides], where=str(file))
    for name, declaration in known.items():
        if declaration.required and name not in table:
            raise ConfigError(f"{key} in {file} lacks {name}: expected {declaration.expected}.", param=key)
    return {
        name: declaration.check(table[name], where=str(file), base=file.parent, key=f"{key}.{name}")
        for name, declaration in known.items()
        if name in table
    }
