"""Settings in each part's own terms. Pure, but for reading chat templates."""

from __future__ import annotations

import shlex
from collections.abc import Mapping

from agent.api.settings import ApiSettings
from agent.config import API_KEY_VARIABLE
from agent.errors import ConfigError, RequestError
from agent.runtime.spec import Limits
from agent.settings import Settings, declarations, flags
from agent.speech.cadence import Cadence
from agent.speech.live import LiveOptions
from agent.speech.policy import Partials
from agent.speech.wanted import Wanted

MIB = 1024 * 1024
LISTENING = frozenset({"microphone", "live_model", "live_language", "live_prompt"})
"""Settings whose new value counts when the microphone is opened next."""
GOVERNING = frozenset({"governor_mode", "power_target_watts", "power_target_joules_per_token"})
LIVE = frozenset({"keep_alive_s", "log_level", "log_format", "starter_models", *LISTENING, *GOVERNING})
"""Settings, besides API keys and models, whose new value counts after a reload; the others need a restart."""


def limits(settings: Settings) -> Limits:
    """What the runtime is held to."""
    cap_mb = settings.memory_budget_mb
    return Limits(
        queue_capacity=settings.queue_capacity,
        default_deadline_s=settings.request_timeout_s,
        memory_cap_bytes=None if cap_mb is None else cap_mb * MIB,
        heartbeat_s=settings.heartbeat_s,
        hang_timeout_s=settings.hang_timeout_s,
    )


def api_settings(settings: Settings, sampling: Mapping[str, Mapping[str, float | int]]) -> ApiSettings:
    """What the HTTP side is held to."""
    return ApiSettings(
        hosts=settings.allowed_hosts,
        origins=settings.allowed_origins,
        body_limit_bytes=settings.max_body_mb * MIB,
        audio_limit_bytes=settings.max_audio_mb * MIB,
        upload_folder=settings.state_dir,
        head_timeout_s=settings.header_timeout_s,
        body_timeout_s=settings.body_timeout_s,
        request_timeout_s=settings.request_timeout_s,
        sampling=sampling,
    )


def listening_settings(settings: Settings) -> Wanted:
    """What the microphone listens with where nobody asks for anything. Raises `ConfigError`."""
    wanted = Wanted(
        device=settings.microphone,
        model=settings.live_model,
        language=settings.live_language,
        prompt=settings.live_prompt,
    )
    try:
        return wanted.checked()
    except RequestError as error:
        name = "live_language" if error.param == "language" else "microphone"
        value = settings.live_language if error.param == "language" else settings.microphone
        raise ConfigError(f"{name} = {value!r}: {error.message}", hint=error.hint, param=name) from None


def live_options(*, partials: bool, cadence: Cadence) -> LiveOptions:
    """How the microphone is transcribed; `partials` is the profile's word, `cadence` the governor's."""
    return LiveOptions(partials=Partials(enabled=partials), cadence=cadence)


def power_command(settings: Settings) -> tuple[str, ...]:
    """The words of the command that prints watts; empty without one. Raises `ConfigError`."""
    try:
        words = tuple(shlex.split(settings.power_command or ""))
    except ValueError as error:
        raise ConfigError(f"power_command = {settings.power_command!r}: {error}.", param="power_command") from None
    return words


def digests(settings: Settings) -> dict[str, str]:
    """The API keys as the API keeps them: SHA-256 in hex by name."""
    return {key.name: key.sha256 for key in settings.api_keys}


def worker_environment(environment: Mapping[str, str]) -> dict[str, str]:
    """What workers inherit: they open hostile files, so no secret, and not the line to systemd."""
    systemd = {"NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID", "LISTEN_FDS", "LISTEN_FDNAMES", "LISTEN_PID"}
    withheld = {API_KEY_VARIABLE} | systemd | {each.environment for each in flags().values() if each.secret}
    return {name: value for name, value in environment.items() if name not in withheld}


def needing_restart(old: Settings, new: Settings) -> list[str]:
    """Names of settings that differ and that a reload cannot apply."""
    names = [*declarations(Settings), "profile_overrides", "mqtt"]
    changed = [name for name in names if name not in LIVE and getattr(old, name) != getattr(new, name)]
    fixed = ("url", "root_file", "device_class")
    return changed + [f"updates.{one}" for one in fixed if getattr(old.updates, one) != getattr(new.updates, one)]


def chat_templates(settings: Settings) -> dict[str, str]:
    """The text of the templates that models are given. Raises `ConfigError`."""
    templates = {}
    for name, model in settings.models.items():
        if model.chat_template is None:
            continue
        try:
            templates[name] = model.chat_template.read_text("utf-8")
        except (OSError, UnicodeDecodeError) as error:
            reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8"
            raise ConfigError(
                f"models.{name}.chat_template = '{model.chat_template}' cannot be read: {reason}.",
                param=f"models.{name}.chat_template",
            ) from None
    return templates
