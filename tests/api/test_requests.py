"""What bodies are refused, and in which words: each error names the field, the value and what was expected."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from agent.api.decode import parse
from agent.api.requests import ChatRequest, CompletionRequest, EmbeddingRequest
from agent.errors import RequestError
from agent.runtime.wire.embedding import Embed
from agent.runtime.wire.generation import Generate

HI = [{"role": "user", "content": "Hi"}]
IMAGE = {"type": "image_url", "image_url": {"url": "http://example.com/cat.png"}}


def chat(**fields: Any) -> Generate:
    body = parse(msgspec.json.encode({"messages": HI, **fields}), ChatRequest)
    body.streaming()
    body.urgency()
    return body.to_generate(choice_limit=8, defaults={})


def completion(**fields: Any) -> tuple[Generate, ...]:
    body = parse(msgspec.json.encode({"prompt": "Hi", **fields}), CompletionRequest)
    return body.to_generates(choice_limit=8, prompt_limit=3, defaults={})


def embedding(**fields: Any) -> Embed:
    body = parse(msgspec.json.encode(fields), EmbeddingRequest)
    body.as_base64()
    return body.to_embed(limit=5)


@pytest.mark.parametrize(
    ("fields", "message", "param"),
    [
        ({"temperature": 11}, "`temperature` is 11; expected a number from 0 to 10.", "temperature"),
        ({"temperature": "hot"}, '`temperature` is "hot"; expected a number from 0 to 10.', "temperature"),
        ({"top_p": 1.5}, "`top_p` is 1.5; expected a number from 0 to 1.", "top_p"),
        ({"min_p": True}, "`min_p` is true; expected a number from 0 to 1.", "min_p"),
        ({"presence_penalty": -3}, "`presence_penalty` is -3; expected a number from -2 to 2.", "presence_penalty"),
        ({"repeat_penalty": 0}, "`repeat_penalty` is 0; expected a number above 0, at most 10.", "repeat_penalty"),
        ({"n": 0}, "`n` is 0; expected a positive integer.", "n"),
        ({"n": 1.5}, "`n` is 1.5; expected a positive integer.", "n"),
        ({"n": 9}, "`n` is 9; expected at most 8.", "n"),
        ({"max_tokens": 0}, "`max_tokens` is 0; expected an integer of at least 1", "max_tokens"),
        ({"max_tokens": -2}, "`max_tokens` is -2; expected a positive integer, or -1 for no limit.", "max_tokens"),
        ({"stream": "yes"}, '`stream` is "yes"; expected true or false.', "stream"),
        ({"stop": ["a"] * 17}, "expected at most 16 strings.", "stop"),
        ({"stop": [""]}, '`stop` is [""]; expected strings of 1 to 512 characters.', "stop"),
        ({"stop": ["a", 5]}, "`stop[1]` is 5; expected a string, or an array of at most 16 strings.", "stop[1]"),
        ({"top_logprobs": 21, "logprobs": True}, "expected an integer from 0 to 20.", "top_logprobs"),
        ({"top_logprobs": 2}, "`top_logprobs` needs `logprobs`.", "top_logprobs"),
        ({"logit_bias": {"x": 1}}, 'expected token ids as keys, like "50256".', "logit_bias"),
        ({"logit_bias": {"1": 101}}, '`logit_bias` is {"1":101.0}; expected values from -100 to 100.', "logit_bias"),
        ({"logit_bias": {"-1": 1}}, "expected token ids as keys", "logit_bias"),
        ({"seed": 2**70}, "expected integers of at most 64 bits.", "seed"),
        ({"priority": "urgent"}, '`priority` is "urgent"; expected high, normal or low.', "priority"),
        ({"deadline_s": 0}, "expected a number of seconds, above 0 and at most 86400.", "deadline_s"),
        ({"messages": []}, "`messages` is []; expected an array of at least one message object.", "messages"),
        ({"messages": "Hi"}, '`messages` is "Hi"; expected an array', "messages"),
        ({"messages": [5]}, "`messages[0]` is 5; expected an array of at least one message", "messages[0]"),
        ({"messages": [{"role": "boss", "content": ""}]}, '`messages[0].role` is "boss"; expected', "messages[0].role"),
        ({"messages": [{"role": "user"}]}, "`messages[0].content` is null; expected a string", "messages[0].content"),
        (
            {"messages": [{"role": "user", "content": [IMAGE]}]},
            '`messages[0].content[0]` is of type "image_url"; only text parts are taken.',
            "messages[0].content[0]",
        ),
        (
            {"messages": [{"role": "user", "content": [{"type": "input_audio"}]}]},
            "only text parts are taken",
            "messages[0].content[0]",
        ),
        ({"tool_choice": "required"}, '`tool_choice` is "required"; expected none or auto.', "tool_choice"),
        ({"tools": {"type": "function"}}, "expected an array of objects.", "tools"),
        ({"modalities": ["audio"]}, '`modalities` is ["audio"]; expected only ["text"].', "modalities"),
        ({"functions": []}, "`functions` is not supported. Use `tools`.", "functions"),
        ({"temperatur": 1}, 'Unknown field "temperatur". Did you mean `temperature`?', "temperatur"),
        ({"n_predict": 5}, "Did you mean `max_tokens`?", "n_predict"),
        ({"repetition_penalty": 1}, "Did you mean `repeat_penalty`?", "repetition_penalty"),
        ({"zzz": 1}, 'Unknown field "zzz". docs/http.md lists the fields.', "zzz"),
        ({"stream_options": {}}, "`stream_options` needs `stream`.", "stream_options"),
        ({"response_format": {"type": "xml"}}, '`response_format.type` is "xml"', "response_format.type"),
        ({"response_format": {"type": "json_schema"}}, "expected a schema", "response_format"),
        (
            {"response_format": {"type": "json_object"}, "grammar": "root ::= x"},
            "More than one of `response_format`, `json_schema` and `grammar`",
            "response_format",
        ),
        ({"grammar": "a", "json_schema": {}}, "More than one of", "response_format"),
    ],
)
def test_refused_chat_names_field_value_and_expectation(fields: dict[str, Any], message: str, param: str) -> None:
    with pytest.raises(RequestError) as caught:
        chat(**fields)
    assert message in str(caught.value)
    assert caught.value.param == param


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"suffix": "x"}, "`suffix` is not supported."),
        ({"best_of": 2}, "`best_of` is 2; expected the same as `n`."),
        ({"logprobs": 21}, "expected an integer from 0 to 20."),
        ({"logprobs": True}, "`logprobs` is true"),
        ({"prompt": []}, "expected 1 to 3 of them."),
        ({"prompt": ["a"] * 4}, "expected 1 to 3 of them."),
        ({"prompt": ["a", [1]]}, "expected either strings or arrays of token ids, not both."),
        ({"prompt": [1, "a"]}, "expected a string, an array of strings, of token ids, or of arrays of token ids."),
        ({"prompt": [[1.5]]}, "expected a string, an array of strings"),
        ({"prompt": [-1]}, "expected a string, an array of strings"),
        ({"prompt": None}, "expected a string or an array."),
        ({"messages": HI}, "Did you mean `prompt`?"),
    ],
)
def test_refused_completion(fields: dict[str, Any], message: str) -> None:
    with pytest.raises(RequestError) as caught:
        completion(**fields)
    assert message in str(caught.value)


@pytest.mark.parametrize(
    ("prompt", "prompts"),
    [
        ("a", ["a"]),
        ("", [""]),
        (["a", "b"], ["a", "b"]),
        ([1, 2], [(1, 2)]),
        ([[1, 2], [3]], [(1, 2), (3,)]),
    ],
)
def test_prompt_in_each_of_four_shapes(prompt: Any, prompts: list[Any]) -> None:
    assert [generate.prompt for generate in completion(prompt=prompt)] == prompts


@pytest.mark.parametrize("field", ["user", "metadata", "store", "service_tier", "parallel_tool_calls", "prediction"])
def test_fields_without_meaning_here_are_ignored(field: str) -> None:
    assert chat(**{field: {"any": "thing"}}) == chat()


@pytest.mark.parametrize("field", sorted(set(ChatRequest.__struct_fields__) - {"messages"}))
def test_null_is_the_same_as_not_said(field: str) -> None:
    assert chat(**{field: None}) == chat()


@pytest.mark.parametrize(
    ("response_format", "schema"),
    [
        ({"type": "text"}, None),
        ({"type": "json_object"}, {}),
        ({"type": "json_object", "schema": {"type": "array"}}, {"type": "array"}),
        ({"type": "json_schema", "json_schema": {"name": "a", "strict": True, "schema": {"a": 1}}}, {"a": 1}),
    ],
)
def test_response_format_becomes_a_schema(response_format: dict[str, Any], schema: dict[str, Any] | None) -> None:
    assert chat(response_format=response_format).json_schema == schema


def test_tool_choice_none_hides_the_tools() -> None:
    assert chat(tools=[{"type": "function"}], tool_choice="none").tools is None


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (b"", "The body is empty"),
        (b'{"messages": [', "not valid JSON: Input data was truncated (byte 14)"),
        (b'{"messages": }', "not valid JSON: JSON is malformed: invalid character (byte 13)"),
        (b'{"a": "\xff\xfe"}', "The body is not UTF-8 text (byte 7)"),
        ("{}".encode("utf-16"), "The body is not UTF-8 text (byte 0)"),
        (b'{"temperature": NaN}', "invalid character (byte 16)"),
        (b"[]", "must be a JSON object"),
        (b"[" * 100_000, "nested too deeply"),
        (b'{"tools": ' + b"[" * 70 + b"]" * 70 + b"}", "`tools` is nested more than 64 levels deep"),
        (b'{"messages": [{"role": "user", "content": 123456789012345678901234567890}]}', "at most 64 bits"),
        (b"{}", "`messages` is missing."),
    ],
)
def test_bodies_that_are_no_request(body: bytes, message: str) -> None:
    with pytest.raises(RequestError) as caught:
        parse(body, ChatRequest)
    assert message in str(caught.value)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"input": ""}, "expected text that is not empty."),
        ({"input": []}, "expected 1 to 5 of them."),
        ({"input": ["a"] * 6}, "expected 1 to 5 of them."),
        ({"input": "a", "encoding_format": "hex"}, "expected float or base64."),
        ({"input": "a", "dimensions": 0}, "expected a positive integer."),
        ({"prompt": "a"}, "Did you mean `input`?"),
    ],
)
def test_refused_embedding(fields: dict[str, Any], message: str) -> None:
    with pytest.raises(RequestError) as caught:
        embedding(**fields)
    assert message in str(caught.value)
