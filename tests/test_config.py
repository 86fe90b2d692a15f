"""Where settings come from, what is refused and how, and that every one of them is documented."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from agent.api.settings import ApiSettings
from agent.config import default_state_dir, find_file, load_settings, unknown_variables
from agent.errors import ConfigError
from agent.runtime.spec import Limits
from agent.runtime.wire.generation import Sampling
from agent.runtime.wire.options import LlamaOptions
from agent.settings import ApiKey, ModelSettings, SamplingSettings, Settings, declarations
from agent.settings.reference import tables
from agent.speech.cadence import Cadence
from agent.speech.wanted import Wanted
from agent.wiring import (
    MIB,
    api_settings,
    limits,
    listening_settings,
    live_options,
    needing_restart,
    worker_environment,
)

DOCUMENT = Path(__file__).resolve().parents[1] / "docs" / "configuration.md"
SECRET = "correct-horse-battery-staple"


def load(
    folder: Path, toml: str = "", flags: Mapping[str, Any] | None = None, environment: Mapping[str, str] | None = None
) -> Settings:
    file = folder / "agent.toml"
    file.write_text(toml, encoding="utf-8")
    return load_settings(flags or {}, config=file, environment=environment or {})


def test_defaults_need_no_file(tmp_path: Path) -> None:
    settings = load_settings(
        {}, environment={"XDG_STATE_HOME": "/s", "XDG_CONFIG_HOME": str(tmp_path)}, system_file=tmp_path / "none"
    )
    assert (settings.host, settings.port, settings.config_file) == ("127.0.0.1", 8484, None)
    assert settings.state_dir == Path("/s/edge-agent")
    assert settings.api_keys == ()


@pytest.mark.parametrize(
    ("flag", "variable", "line", "expected"),
    [
        (None, None, "", 8484),
        (None, None, "port = 1", 1),
        (None, "2", "port = 1", 2),
        ("3", "2", "port = 1", 3),
        ("0", None, "port = 1", 0),
        (None, "", "port = 1", 1),
    ],
)
def test_flag_beats_variable_beats_file_beats_default(
    tmp_path: Path, flag: str | None, variable: str | None, line: str, expected: int
) -> None:
    environment = {} if variable is None else {"EDGE_AGENT_PORT": variable}
    assert load(tmp_path, line, {"port": flag}, environment).port == expected


@pytest.mark.parametrize(
    ("toml", "param", "words"),
    [
        ("port = 99999", "port", ["port = 99999", "agent.toml", "an integer from 0 to 65535"]),
        ("port = -1", "port", ["port = -1", "from 0 to 65535"]),
        ("port = '8484'", "port", ["port = '8484'", "an integer"]),
        ("port = true", "port", ["port = true", "an integer"]),
        ("port = 8484.0", "port", ["port = 8484.0", "an integer"]),
        ("prot = 1", "prot", ["prot", "not a setting", "Did you mean port?"]),
        ("zzzzzz = 1", "zzzzzz", ["zzzzzz", "not a setting", "docs/configuration.md"]),
        ("host = ''", "host", ["host = ''", "a string"]),
        ("state_dir = 3", "state_dir", ["state_dir = 3", "a path"]),
        ("log_level = 'loud'", "log_level", ["'loud'", "one of debug, info, warning, error"]),
        ("keep_alive_s = nan", "keep_alive_s", ["nan", "a number"]),
        ("allowed_hosts = 'a'", "allowed_hosts", ["'a'", "a list"]),
        ("allowed_hosts = [1]", "allowed_hosts", ["= 1 ", "a string"]),
        ("shutdown_grace_s = -0.1", "shutdown_grace_s", ["-0.1", "from 0 to 3600 (seconds)"]),
        ("port =", "config", ["agent.toml is not valid TOML"]),
        ("[models]\na = 1", "models.a", ["models.a = 1", "a table"]),
        ("models = 1", "models", ["models", "[models.NAME]"]),
        ("[models.a]\nthread = 2", "models.a.thread", ["models.a.thread", "Did you mean threads?"]),
        ("[models.a]\nthreads = 0", "models.a.threads", ["models.a.threads = 0", "from 1 to 1024"]),
        ("[models.a]\nkv_type = 'q3'", "models.a.kv_type", ["'q3'", "q8_0"]),
        ("[models.a]\nkeep_alive_s = -2", "models.a.keep_alive_s", ["-2", "from -1"]),
        ("[models.a]\npath = ''", "models.a.path", ["''", "a path"]),
        ("[models.a]\nlora = 'x'", "models.a", ["models.a.lora", "a list"]),
        ("[models.a]\nlora = [{scale = 1}]", "models.a.lora[0]", ["models.a.lora[0]", "lacks path"]),
        ("[models.a]\nlora = [{path = 'x', size = 1}]", "models.a.lora[0].size", ["models.a.lora[0].size"]),
        ("[models.a.sampling]\ntemperature = 11", "models.a.sampling.temperature", ["11.0", "a number from 0 to 10"]),
        ("[models.a.sampling]\ntemp = 1", "models.a.sampling.temp", ["not a setting"]),
        ("[models.a]\naliases = ['b']\n[models.b]", "models.a.aliases", ["'b'", "already stands for b"]),
        ("api_keys = 'x'", "api_keys", ["[[api_keys]]"]),
        ("[[api_keys]]\nname = 'a'", "api_keys[0]", ["a name, and either key or sha256"]),
        ("[[api_keys]]\nname = 'a'\nkey = ''", "api_keys[0].key", ["not empty"]),
        ("[[api_keys]]\nname = 'a'\nsha256 = 'abc'", "api_keys[0].sha256", ["64 hexadecimal digits"]),
        ("[[api_keys]]\nname = 'a'\nkye = 'x'", "api_keys[0].kye", ["Did you mean key?"]),
        ("[[api_keys]]\nname='a'\nkey='x'\n[[api_keys]]\nname='a'\nkey='y'", "api_keys", ["'a' names two keys"]),
        ("mqtt = 'mqtt://h'", "mqtt", ["[mqtt]"]),
        ("[mqtt]\nurls = 'x'", "mqtt.urls", ["mqtt.urls", "Did you mean url?"]),
        ("[mqtt]\nurl = 3", "mqtt.url", ["mqtt.url = 3", "a list, each a string"]),
        ("[mqtt]\nkeepalive_s = 0", "mqtt.keepalive_s", ["mqtt.keepalive_s = 0", "from 5 to 65535 (seconds)"]),
        ("[mqtt]\nprotocol = '3'", "mqtt.protocol", ["'3'", "one of auto, 5, 3.1.1"]),
        ("[mqtt]\npassword = 3", "mqtt.password", ["mqtt.password = (hidden)"]),
        ("[mqtt]\npassword = 'x'", "mqtt.username", ["without mqtt.username"]),
        ("[mqtt]\nusername = 'a'\npassword = 'x'\npassword_file = 'y'", "mqtt.password", ["expected one"]),
        ("[updates]\nurl = 'http://h'", "updates.root_file", ["without updates.root_file"]),
        ("[updates]\nwindow = '02:00-03:00'", "updates.window", ["updates.window", "Did you mean windows?"]),
        ("[updates]\nattempts = 0", "updates.attempts", ["updates.attempts = 0", "from 1 to 1000"]),
        ("updates = 1", "updates", ["[updates]"]),
        ("[mqtt]\nkey_file = 'x'", "mqtt.key_file", ["without mqtt.cert_file"]),
        ("[profile]\nthreads = 3", "profile.threads", ["profile.threads = 3", "section"]),
        ("profile = 3", "profile", ["profile = 3", "a string"]),
    ],
)
def test_a_mistake_in_the_file_names_key_value_and_expectation(
    tmp_path: Path, toml: str, param: str, words: list[str]
) -> None:
    with pytest.raises(ConfigError) as caught:
        load(tmp_path, toml)
    assert caught.value.param == param
    for word in words:
        assert word in str(caught.value)


@pytest.mark.parametrize(
    ("flags", "environment", "words"),
    [
        ({"port": "x"}, {}, ["port = 'x'", "--port", "an integer"]),
        ({"port": "70000"}, {}, ["70000", "--port"]),
        ({}, {"EDGE_AGENT_PORT": "x"}, ["port = 'x'", "$EDGE_AGENT_PORT"]),
        ({"log_format": "xml"}, {}, ["--log-format", "one of text, json"]),
        ({"api_keys": [" "]}, {}, ["api_keys", "--api-key"]),
        ({"keep_alive_s": "inf"}, {}, ["inf", "a number"]),
        ({"mqtt.in_flight": "0"}, {}, ["--mqtt-in-flight", "from 1 to 1000"]),
        ({}, {"EDGE_AGENT_MQTT_ROOT": " "}, ["$EDGE_AGENT_MQTT_ROOT", "a string"]),
    ],
)
def test_a_mistake_in_flag_or_variable_names_it(
    tmp_path: Path, flags: dict[str, Any], environment: dict[str, str], words: list[str]
) -> None:
    with pytest.raises(ConfigError) as caught:
        load(tmp_path, "", flags, environment)
    for word in words:
        assert word in str(caught.value)


def test_lists_from_flags_and_variables(tmp_path: Path) -> None:
    assert load(tmp_path, "", {"allowed_hosts": ["a", "b,c"]}).allowed_hosts == ("a", "b", "c")
    assert load(tmp_path, "", {}, {"EDGE_AGENT_ALLOWED_HOST": "a, b"}).allowed_hosts == ("a", "b")


@pytest.mark.parametrize("kind", ["missing", "folder", "not utf-8"])
def test_a_file_that_was_asked_for_and_cannot_be_read(tmp_path: Path, kind: str) -> None:
    file = tmp_path / "agent.toml"
    if kind == "folder":
        file.mkdir()
    elif kind == "not utf-8":
        file.write_bytes(b"host = '\xff'")
    with pytest.raises(ConfigError, match=r"agent\.toml"):
        load_settings({}, config=file, environment={})


def test_the_file_is_the_flag_s_then_the_variable_s_then_the_system_s_then_the_person_s(tmp_path: Path) -> None:
    system, own = tmp_path / "etc.toml", tmp_path / "edge-agent" / "agent.toml"
    own.parent.mkdir()
    home = {"XDG_CONFIG_HOME": str(tmp_path)}
    assert find_file(None, home, system) is None
    own.touch()
    assert find_file(None, home, system) == own
    system.touch()
    assert find_file(None, home, system) == system
    assert find_file(None, {**home, "EDGE_AGENT_CONFIG": "/v.toml"}, system) == Path("/v.toml")
    assert find_file(Path("/f.toml"), {**home, "EDGE_AGENT_CONFIG": "/v.toml"}, system) == Path("/f.toml")


@pytest.mark.parametrize(
    ("environment", "expected"),
    [
        ({"STATE_DIRECTORY": "/var/lib/edge-agent", "XDG_STATE_HOME": "/x"}, "/var/lib/edge-agent"),
        ({"STATE_DIRECTORY": "/var/lib/a:/var/lib/b"}, "/var/lib/a"),
        ({"XDG_STATE_HOME": "/x"}, "/x/edge-agent"),
        ({}, str(Path.home() / ".local/state/edge-agent")),
    ],
)
def test_state_folder_of_service_and_person(environment: dict[str, str], expected: str) -> None:
    assert default_state_dir(environment) == Path(expected)


def test_a_model_s_table(tmp_path: Path) -> None:
    toml = """
        keep_alive_s = 60
        [models.a]
        path = "a.gguf"
        task = "embed"
        kv_type = "q8_0"
        mmap = false
        context_tokens = 2048
        lora = [{path = "/l.gguf"}, {path = "m.gguf", scale = 2}]
        [models.a.sampling]
        temperature = 0
        seed = 7
        [models.b]
        keep_alive_s = -1
        [models.c]
        keep_alive_s = 0
    """
    settings = load(tmp_path, toml)
    a = settings.models["a"]
    assert (a.path, a.task, a.kv_type, a.mmap, a.context_tokens) == (tmp_path / "a.gguf", "embed", "q8_0", False, 2048)
    assert [(entry.path, entry.scale) for entry in a.lora] == [(Path("/l.gguf"), 1.0), (tmp_path / "m.gguf", 2.0)]
    assert a.sampling.chosen() == {"temperature": 0.0, "seed": 7}
    assert a.slots is None
    assert [settings.models[name].keep_alive_s for name in "abc"] == [60.0, None, 0.0]


def test_keep_alive_of_minus_one_is_for_ever(tmp_path: Path) -> None:
    assert load(tmp_path, "keep_alive_s = -1").idle_limit_s is None
    assert load(tmp_path, "keep_alive_s = -1\n[models.a]").models["a"].keep_alive_s is None


def test_profile_by_name_and_overrides(tmp_path: Path) -> None:
    assert load(tmp_path, "profile = 'pi-5'").profile == "pi-5"
    settings = load(tmp_path, "[profile]\nname = 'pi-4'\nthreads.generation = 3")
    assert (settings.profile, settings.profile_overrides) == ("pi-4", {"threads": {"generation": 3}})
    assert load(tmp_path, "[profile]\nname = 'pi-4'", {"profile": "pi-5"}).profile == "pi-5"


def test_api_keys_of_the_highest_source_count(tmp_path: Path) -> None:
    digest = "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08"  # sha256 of "test"
    toml = f"[[api_keys]]\nname = 'a'\nkey = '{SECRET}'\n[[api_keys]]\nname = 'b'\nsha256 = '{digest.upper()}'"
    assert [key.name for key in load(tmp_path, toml).api_keys] == ["a", "b"]
    assert load(tmp_path, toml).api_keys[1].sha256 == ApiKey.of("test", "x").sha256 == digest
    from_environment = load(tmp_path, toml, {}, {"EDGE_AGENT_API_KEY": "k1, k2"}).api_keys
    assert [key.key for key in from_environment] == ["k1", "k2"]
    from_flag = load(tmp_path, toml, {"api_keys": ["k3"]}, {"EDGE_AGENT_API_KEY": "k1"}).api_keys
    assert [key.key for key in from_flag] == ["k3"]


def test_secrets_are_never_shown(tmp_path: Path) -> None:
    settings = load(tmp_path, "", {"api_keys": [SECRET]})
    assert SECRET not in repr(settings)
    assert SECRET not in str(settings.api_keys)
    for toml in (f"[[api_keys]]\nkey = '{SECRET}'", f"[[api_keys]]\nname='a'\nkey = '{SECRET}'\nsha256 = '{SECRET}'"):
        with pytest.raises(ConfigError) as caught:
            load(tmp_path, toml)
        assert SECRET not in str(caught.value)
    assert SECRET not in worker_environment({"EDGE_AGENT_API_KEY": SECRET, "PATH": "/bin"}).values()


def test_a_misspelt_variable_is_noticed() -> None:
    found = unknown_variables({"EDGE_AGENT_PROT": "1", "EDGE_AGENT_PORT": "1", "EDGE_AGENT_API_KEY": "k", "HOME": "/"})
    assert found == ["EDGE_AGENT_PROT"]


def test_no_default_differs_from_that_of_the_part_it_sets(tmp_path: Path) -> None:
    settings = load(tmp_path)
    assert limits(settings) == Limits()
    assert api_settings(settings, {}) == ApiSettings(upload_folder=settings.state_dir)


def test_what_is_set_reaches_the_parts(tmp_path: Path) -> None:
    settings = load(tmp_path, "memory_budget_mb = 10\nqueue_capacity = 3\nmax_body_mb = 2\nallowed_hosts = ['pi']")
    assert (limits(settings).memory_cap_bytes, limits(settings).queue_capacity) == (10 * MIB, 3)
    assert (api_settings(settings, {}).body_limit_bytes, api_settings(settings, {}).hosts) == (2 * MIB, ("pi",))


def test_what_the_microphone_listens_with(tmp_path: Path) -> None:
    assert listening_settings(load(tmp_path)) == Wanted()
    toml = "microphone = '2'\nlive_model = 'w'\nlive_language = 'German'\nlive_prompt = 'Licht.'"
    assert listening_settings(load(tmp_path, toml)) == Wanted(device="2", model="w", language="de", prompt="Licht.")
    assert not live_options(partials=False, cadence=Cadence()).partials.enabled


@pytest.mark.parametrize(
    ("toml", "param"), [("live_language = 'klingonish'", "live_language"), ('microphone = "a\\u0000b"', "microphone")]
)
def test_a_microphone_or_a_language_that_cannot_be(tmp_path: Path, toml: str, param: str) -> None:
    with pytest.raises(ConfigError, match=param) as error:
        listening_settings(load(tmp_path, toml))
    assert error.value.param == param


@pytest.mark.parametrize(
    ("toml", "flags", "environment", "url"),
    [
        ("", {}, {}, ()),
        ("[mqtt]\nurl = 'mqtt://a'", {}, {}, ("mqtt://a",)),
        ("[mqtt]\nurl = ['mqtt://a', 'mqtt://b']", {}, {}, ("mqtt://a", "mqtt://b")),
        ("[mqtt]\nurl = 'mqtt://a'", {}, {"EDGE_AGENT_MQTT_URL": "mqtt://b"}, ("mqtt://b",)),
        ("", {"mqtt.url": ["mqtt://c"]}, {"EDGE_AGENT_MQTT_URL": "mqtt://b"}, ("mqtt://c",)),
    ],
)
def test_the_broker_from_flag_variable_or_file(
    tmp_path: Path, toml: str, flags: dict[str, Any], environment: dict[str, str], url: tuple[str, ...]
) -> None:
    assert load(tmp_path, toml, flags, environment).mqtt.url == url


def test_the_broker_s_table(tmp_path: Path) -> None:
    toml = "[mqtt]\ndevice = 'kitchen'\nusername = 'me'\npassword_file = 'secret'\nca_file = '/ca.pem'\nalpn = ['mqtt']"
    mqtt = load(tmp_path, toml, {}, {"EDGE_AGENT_DEVICE": "cellar"}).mqtt
    assert (mqtt.device, mqtt.username, mqtt.alpn) == ("cellar", "me", ("mqtt",))
    assert (mqtt.password_file, mqtt.ca_file) == (tmp_path / "secret", Path("/ca.pem"))


def test_the_broker_s_password_is_never_shown(tmp_path: Path) -> None:
    settings = load(tmp_path, f"[mqtt]\nusername = 'me'\npassword = '{SECRET}'")
    assert settings.mqtt.password == SECRET
    assert SECRET not in repr(settings)
    assert SECRET not in worker_environment({"EDGE_AGENT_MQTT_PASSWORD": SECRET, "PATH": "/bin"}).values()


def test_what_only_a_restart_applies(tmp_path: Path) -> None:
    old = load(tmp_path)
    assert (
        needing_restart(old, load(tmp_path, "keep_alive_s = 1\nlog_level = 'debug'\nlive_model = 'w'\n[models.a]"))
        == []
    )
    assert needing_restart(old, load(tmp_path, "port = 1\n[profile.threads]\ngeneration = 1\n[mqtt]\nroot = 'x'")) == [
        "port",
        "profile_overrides",
        "mqtt",
    ]


def test_model_settings_are_the_engine_s_own_names() -> None:
    assert declarations(SamplingSettings).keys() <= set(Sampling.__struct_fields__)
    engine = set(LlamaOptions.__struct_fields__) | {"prefix_cache_mb"}
    elsewhere = {"path", "task", "aliases", "pinned", "preload"}
    assert declarations(ModelSettings).keys() - elsewhere <= engine


@pytest.mark.parametrize("name", tables())
def test_every_setting_is_documented(name: str) -> None:
    text = DOCUMENT.read_text("utf-8")
    missing = [line for line in tables()[name] if line not in text]
    assert not missing, f"docs/configuration.md lacks these lines (python -m agent.settings.reference): {missing}"


def test_the_example_in_the_documentation_is_valid(tmp_path: Path) -> None:
    example = DOCUMENT.read_text("utf-8").split("```toml\n")[1].split("```")[0]
    settings = load(tmp_path, example)
    assert settings.models["qwen"].keep_alive_s is None
    assert [key.name for key in settings.api_keys] == ["kitchen tablet", "home assistant"]
