"""What the robustness rows feed the daemon is what they say it is."""

from __future__ import annotations

import random
from pathlib import Path

import jsonschema

from benchmarks.models import shapes
from benchmarks.serving.corrupt_gguf import CorruptFiles
from benchmarks.serving.random_schema import random_schema


def test_random_schemas_are_valid_and_repeatable() -> None:
    schemas = [random_schema(random.Random(seed)) for seed in range(300)]
    for schema in schemas:
        jsonschema.Draft202012Validator.check_schema(schema)
        assert schema["type"] == "object"
    assert schemas == [random_schema(random.Random(seed)) for seed in range(300)]
    text = str(schemas)
    for keyword in ("enum", "anyOf", "minItems", "maxLength", "number", "integer", "const", "required", "null"):
        assert keyword in text


def test_every_corrupt_file_differs_from_the_good_one_and_is_repeatable(tmp_path: Path) -> None:
    path = shapes.ensure("tiny", "F32", tmp_path)
    good = path.read_bytes()
    files = CorruptFiles(path)
    variants = [files.variant(number) for number in range(200)]
    again = CorruptFiles(path)
    assert variants == [again.variant(number) for number in range(200)]
    assert sum(content == good for _, content in variants) <= 8  # a hostile value may be the right one
    assert {what.split()[0] for what, _ in variants} >= {
        "cut",
        "bits",
        "length",
        "tensor",
        "qwen2.context_length",
        "1",
        "500",
    }
