"""What can be commanded: schemas that say what is enforced, and work by the real runtime."""

from __future__ import annotations

import asyncio
import base64
import json
from collections.abc import AsyncGenerator, Mapping
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agent.errors import ModelNotFoundError, RequestError, StoreError
from agent.fleet.commands.device import Recording, Restarted
from agent.fleet.commands.operation import AnyOperation, capability, read_args, schema
from agent.fleet.commands.operations.all import operations_of
from agent.fleet.commands.operations.diagnose import HIDDEN, without_secrets
from agent.fleet.commands.operations.restart import RestartOperation
from agent.runtime.service import Runtime
from agent.settings.mqtt_operations import OPERATIONS
from agent.store.store import Store
from tests.runtime.scripted import model, runtime_of


class Handheld:
    """A device that records what it was asked for, and answers from a script."""

    def __init__(self) -> None:
        self.asked: list[object] = []

    async def transcribe(self, recording: Recording) -> AsyncGenerator[Mapping[str, Any], None]:
        self.asked.append(recording)
        yield {"text": " turn on", "start_s": 0.0, "end_s": 1.0, "language": "en"}
        yield {"text": "the light ", "start_s": 1.5, "end_s": 2.0, "language": "en"}

    async def microphone(self, on: bool) -> Mapping[str, Any]:
        self.asked.append(on)
        return {"state": "open" if on else "closed"}

    async def diagnose(self) -> Mapping[str, Any]:
        return {"mqtt": {"url": "mqtt://me:pw@host", "password": "hunter2"}, "models": [{"name": "m", "tokens": 3}]}

    async def update_model(self, name: str, version: str | None, policy: Mapping[str, Any]) -> Mapping[str, Any]:
        self.asked.append((name, version, policy))
        return {"model": name, "version": version or "3", "state": "committed"}

    async def models_changed(self) -> None:
        self.asked.append("models_changed")

    async def restart(self, what: Restarted) -> None:
        self.asked.append(what)


class Collected:
    def __init__(self) -> None:
        self.pieces: list[Mapping[str, Any]] = []

    async def __call__(self, piece: Mapping[str, Any]) -> None:
        self.pieces.append(piece)


def all_of(runtime: Any = None, store: Any = None, device: Handheld | None = None) -> dict[str, AnyOperation]:
    found = operations_of(runtime, store, device or Handheld(), {"m": {"temperature": 0.5}})
    return {operation.name: operation for operation in found}


async def run(operation: AnyOperation, args: Mapping[str, Any], pieces: Collected | None = None) -> dict[str, Any]:
    """As a command does it; the result is what would be published."""
    made = await operation.run(read_args(operation, args), pieces=pieces or Collected())
    found: dict[str, Any] = json.loads(json.dumps(made))
    return found


EVERY = all_of()


def test_each_has_its_settings() -> None:
    assert EVERY.keys() == OPERATIONS.keys()


@pytest.mark.parametrize("name", EVERY)
def test_its_schema_is_one(name: str) -> None:
    jsonschema.Draft202012Validator.check_schema(schema(EVERY[name]))
    assert capability(EVERY[name])["description"]
    assert len(json.dumps(capability(EVERY[name]))) < 8000


VALUES = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-5, 5000),
    st.floats(-3, 12, allow_nan=False),
    st.integers(0, 100).map(float),
    st.sampled_from(["", "a", "start", "agent", "high", "base64", "aGVsbG8="]),
    st.lists(st.sampled_from(["", "a", "stop"]), max_size=3),
    st.lists(st.fixed_dictionaries({"role": st.sampled_from(["user", "x"]), "content": st.just("hi")}), max_size=2),
    st.dictionaries(st.sampled_from(["type"]), st.just("object"), max_size=1),
)


@pytest.mark.parametrize("name", EVERY)
@settings(max_examples=60, deadline=None)
@given(data=st.data())
def test_what_the_schema_refuses_is_refused(name: str, data: st.DataObject) -> None:
    """And the other way round, but for the rules between two arguments, which a reader of the schema is told."""
    operation = EVERY[name]
    fields = [*schema(operation)["properties"], "unheard_of"]
    args = data.draw(st.dictionaries(st.sampled_from(fields), VALUES, max_size=4))
    valid = jsonschema.Draft202012Validator(schema(operation)).is_valid(args)
    wrong: str | None = ""
    try:
        read_args(operation, args)
    except RequestError as error:
        wrong = error.param
    assert valid == (wrong == "") or wrong in ("args.prompt", "args.grammar", "args.audio")


@pytest.mark.parametrize(
    ("name", "args", "words"),
    [
        ("generate", {}, "expected one of prompt and messages"),
        ("generate", {"prompt": "a", "messages": [{"role": "user", "content": "b"}]}, "expected one of"),
        ("generate", {"prompt": 1}, "args.prompt: expected `str | null`"),
        ("generate", {"messages": [{"role": "user"}]}, "args.messages[0]"),
        ("generate", {"prompt": "a", "temperature": 11}, "args.temperature"),
        ("generate", {"prompt": "a", "grammar": "x", "json_schema": {}}, "exclude each other"),
        ("embed", {"input": []}, "args.input"),
        ("transcribe", {}, "one of audio and microphone"),
        ("transcribe", {"audio": "no base64!"}, "expected base64"),
        ("restart", {"what": "everything"}, "args.what"),
        ("model_load", {}, "model"),
        ("benchmark", {"runs": 100}, "args.runs"),
        ("model_update", {}, "model"),
        ("model_update", {"model": "m", "policy": {"urgent": 2}}, "args.policy.urgent"),
        ("model_update", {"model": "m", "policy": {"speed": 2}}, "args.policy"),
    ],
)
def test_what_is_wrong_with_the_arguments_is_said(name: str, args: dict[str, Any], words: str) -> None:
    with pytest.raises(RequestError) as caught:
        read_args(EVERY[name], args)
    assert words in str(caught.value)


async def test_generate_streams_and_counts() -> None:
    async with runtime_of(model("m", aliases=("other",))) as runtime:
        pieces = Collected()
        result = await run(all_of(runtime)["generate"], {"prompt": "tokens=5 delay_s=0.01", "model": "other"}, pieces)
        assert result["model"] == "m"
        assert result["text"] == "".join(str(piece["text"]) for piece in pieces.pieces) != ""
        assert (result["finish_reason"], result["completion_tokens"]) == ("stop", 5)
        quiet = Collected()
        await run(all_of(runtime)["generate"], {"prompt": "tokens=5", "stream": False}, quiet)
        assert quiet.pieces == []


async def test_generate_that_is_cancelled_gives_its_slot_back() -> None:
    async with runtime_of(model("m", slots=1)) as runtime:
        generate = all_of(runtime)["generate"]
        task = asyncio.create_task(run(generate, {"prompt": "tokens=1000 delay_s=0.01"}))
        async with asyncio.timeout(10):
            while not any(found.running for found in runtime.models()):  # noqa: ASYNC110
                await asyncio.sleep(0.01)
            task.cancel()
            await asyncio.wait([task])
            assert (await run(generate, {"prompt": "tokens=1"}))["completion_tokens"] == 1


@pytest.mark.parametrize(("prompt", "code"), [("fail=engine_error", "engine_error"), ("exit=3", "worker_crashed")])
async def test_what_the_engine_cannot_do_is_an_error(prompt: str, code: str) -> None:
    from agent.errors import EdgeAgentError

    async with runtime_of(model("m")) as runtime:
        with pytest.raises(EdgeAgentError) as caught:
            await run(all_of(runtime)["generate"], {"prompt": prompt})
        assert caught.value.code == code


def test_a_model_s_own_sampling_is_the_default() -> None:
    args = read_args(EVERY["generate"], {"prompt": "a", "top_k": 3})
    sampling = args.to_generate({"temperature": 0.5, "top_k": 9}).sampling  # type: ignore[attr-defined]
    assert (sampling.temperature, sampling.top_k) == (0.5, 3)


async def test_embed_gives_vectors() -> None:
    async with runtime_of(model("e", task="embed", prompts=("query",))) as runtime:
        embed = all_of(runtime)["embed"]
        assert (await run(embed, {"input": ["a", "b"]}))["vectors"] == [[0.0, 0.0], [0.0, 0.0]]
        answer = await run(embed, {"input": "a", "prompt_name": "query", "encoding": "base64"})
        assert (answer["dim"], base64.b64decode(answer["vectors"][0])) == (2, b"\0" * 8)
        with pytest.raises(RequestError, match="it has: query"):
            await run(embed, {"input": "a", "prompt_name": "passage"})
        with pytest.raises(ModelNotFoundError, match="generates text"):
            await run(all_of(runtime)["generate"], {"prompt": "a"})


async def test_transcribe_sends_its_segments() -> None:
    device, pieces = Handheld(), Collected()
    audio = base64.b64encode(b"RIFF....").decode()
    result = await run(all_of(device=device)["transcribe"], {"audio": audio, "language": "en", "prompt": "x"}, pieces)
    assert (result["text"], result["language"], len(result["segments"])) == ("turn on the light", "en", 2)
    assert device.asked == [Recording(audio=b"RIFF....", language="en", prompt="x")]
    assert len(pieces.pieces) == 2
    assert await run(all_of(device=device)["transcribe"], {"microphone": "stop"}) == {"state": "closed"}
    assert device.asked[-1] is False


async def test_models_are_loaded_and_unloaded() -> None:
    async with runtime_of(model("m", aliases=("other",))) as runtime:
        operations = all_of(runtime)
        loaded = await run(operations["model_load"], {"model": "other"})
        assert (loaded["model"], loaded["version"], loaded["state"]) == ("m", "1", "ready")
        assert (await run(operations["model_unload"], {"model": "m"}))["state"] != "ready"
        with pytest.raises(ModelNotFoundError, match="Models here: m"):
            await run(operations["model_load"], {"model": "x" * 150})


async def test_a_rollback_of_what_is_not_there(tmp_path: Path) -> None:
    async with runtime_of() as runtime:
        device = Handheld()
        with pytest.raises((ModelNotFoundError, StoreError)):
            await run(all_of(runtime, Store(tmp_path), device)["model_rollback"], {"model": "m"})
        assert device.asked == []


async def test_benchmark_measures_each_run() -> None:
    async with runtime_of(model("m")) as runtime:
        pieces = Collected()
        result = await run(all_of(runtime)["benchmark"], {"runs": 2}, pieces)
        assert (len(result["runs"]), len(pieces.pieces)) == (2, 2)


async def test_diagnose_tells_no_secret() -> None:
    report = await run(EVERY["diagnose"], {})
    assert report == {
        "mqtt": {"url": f"mqtt://{HIDDEN}@host", "password": HIDDEN},
        "models": [{"name": "m", "tokens": 3}],
    }


@pytest.mark.parametrize(
    ("key", "value", "kept"),
    [
        ("password", "x", HIDDEN),
        ("mqtt_password", "x", HIDDEN),
        ("api_key", "x", HIDDEN),
        ("api_keys", ["x"], HIDDEN),
        ("token", "x", HIDDEN),
        ("hf-token", "x", HIDDEN),
        ("client_secret", {"a": "x"}, HIDDEN),
        ("private_pem", "x", HIDDEN),
        ("has_password", True, True),
        ("token", None, None),
        ("completion_tokens", 7, 7),
        ("tokens", "7 of 9", "7 of 9"),
        ("key_file", "/etc/key.pem", "/etc/key.pem"),
        ("keyboard", "qwerty", "qwerty"),
        ("note", "see https://me:pw@host/x", f"see https://{HIDDEN}@host/x"),
    ],
)
def test_what_a_report_hides(key: str, value: object, kept: object) -> None:
    assert without_secrets({"outer": [{key: value}]}) == {"outer": [{key: kept}]}


async def test_a_restart_that_does_not_come_is_an_error() -> None:
    device = Handheld()
    with pytest.raises(Exception, match="did not restart within"):
        await run(RestartOperation(device, patience_s=0.01), {"what": "device"})
    assert device.asked == ["device"]


def test_the_runtime_is_the_daemon_s(tmp_path: Path) -> None:
    """What the composition hands in fits, by type."""
    made = operations_of(Runtime.__new__(Runtime), Store(tmp_path), Handheld(), {})
    assert {operation.name for operation in made if not operation.repeatable} == {
        "restart",
        "model_load",
        "model_unload",
        "model_rollback",
    }
