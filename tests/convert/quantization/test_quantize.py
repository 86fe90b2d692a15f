"""Plans, and what llama.cpp makes of them."""

from __future__ import annotations

import ctypes
import shutil
from collections.abc import Iterator
from pathlib import Path

import gguf
import msgspec
import numpy as np
import pytest

from agent.engines.llama.library import llama, only_errors_logged, start_backend
from agent.errors import ArtifactError, DiskFullError, EdgeAgentError, ModelLoadError, RequestError
from convert.quality.text import Reference
from convert.quantization import native
from convert.quantization.header import read_header
from convert.quantization.imatrix import Imatrix, read_imatrix
from convert.quantization.imatrix_source import collect_imatrix
from convert.quantization.quantize import Result, check_plan, plan, quantize
from convert.quantization.recipe import Override, Recipe
from tests.convert.quantization.conftest import STORIES
from tests.convert.quantization.models import raw, weights


def called_directly(source: Path, target: Path, level: int) -> Path:
    start_backend()
    parameters = llama.llama_model_quantize_default_params()
    parameters.ftype = level
    with only_errors_logged():
        assert llama.llama_model_quantize(str(source).encode(), str(target).encode(), ctypes.byref(parameters)) == 0
    return target


def types_of(source: Path, recipe: Recipe) -> dict[str, str]:
    (planned,) = plan(source, [recipe])
    return {tensor.name: tensor.target_type for tensor in planned.tensors}


@pytest.mark.parametrize("level", ["Q4_K_M", "Q8_0", "F16"])
def test_the_bytes_are_those_of_llama_cpp_called_directly(wide_model: Path, tmp_path: Path, level: str) -> None:
    done = quantize(wide_model, tmp_path / "ours.gguf", Recipe(level=level))
    expected = called_directly(wide_model, tmp_path / "direct.gguf", getattr(llama, f"LLAMA_FTYPE_MOSTLY_{level}"))
    assert (tmp_path / "ours.gguf").read_bytes() == expected.read_bytes()
    assert done.bytes == expected.stat().st_size
    assert abs(done.plan.bytes - done.bytes) < 200  # the metadata differs by a few bytes


def test_buffers_of_a_few_rows_give_the_same_bytes(wide_model: Path, wide_imatrix: Path, tmp_path: Path) -> None:
    start_backend()
    matrix, recipe = read_imatrix(wide_imatrix), Recipe(level="Q3_K_S", imatrix=str(wide_imatrix))
    began: list[tuple[int, int, str]] = []
    for name, buffer_bytes in (("small", 10_000), ("large", 1 << 30)):
        native.quantize(
            wide_model,
            tmp_path / name,
            recipe,
            matrix,
            buffer_bytes=buffer_bytes,
            on_tensor=lambda *what: began.append(what),
        )
    assert (tmp_path / "small").read_bytes() == (tmp_path / "large").read_bytes()
    count = len(read_header(wide_model).tensors)
    assert [number for number, _, _ in began] == [*range(1, count + 1)] * 2
    assert {name for _, _, name in began} == set(read_header(wide_model).tensors)


def test_a_split_model_becomes_one_file_with_the_same_tensors(wide_model: Path, tmp_path: Path) -> None:
    write_split(wide_model, tmp_path)
    quantize(tmp_path / "m-00002-of-00002.gguf", tmp_path / "joined.gguf", Recipe(level="Q8_0"))
    quantize(wide_model, tmp_path / "whole.gguf", Recipe(level="Q8_0"))
    assert raw(tmp_path / "joined.gguf") == raw(tmp_path / "whole.gguf")


def write_split(source: Path, folder: Path) -> None:
    reader = gguf.GGUFReader(source)
    halves = [reader.tensors[: len(reader.tensors) // 2], reader.tensors[len(reader.tensors) // 2 :]]
    for number, tensors in enumerate(halves):
        writer = gguf.GGUFWriter(folder / f"m-{number + 1:05d}-of-00002.gguf", "llama")
        if number == 0:
            for key, field in reader.fields.items():
                if not key.startswith("GGUF.") and key != "general.architecture":
                    inner = field.types[-1] if field.types[0] == gguf.GGUFValueType.ARRAY else None
                    writer.add_key_value(key, field.contents(), field.types[0], sub_type=inner)
        writer.add_uint16("split.no", number)
        writer.add_uint16("split.count", 2)
        writer.add_int32("split.tensors.count", len(reader.tensors))
        for tensor in tensors:
            writer.add_tensor(str(tensor.name), tensor.data)
        writer.write_header_to_file()
        writer.write_kv_data_to_file()
        writer.write_tensors_to_file()
        writer.close()


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({}, {"blk.0.ffn_up.weight": "Q4_K", "token_embd.weight": "Q6_K", "blk.0.attn_norm.weight": "F32"}),
        ({"pure": True}, {"token_embd.weight": "Q4_K", "blk.0.ffn_down.weight": "Q4_K"}),
        ({"token_embedding_type": "Q8_0"}, {"token_embd.weight": "Q8_0", "blk.0.ffn_up.weight": "Q4_K"}),
        (
            {"overrides": (Override(r"blk\.1\..*ffn_up", "IQ4_XS"), Override("ffn", "BF16"))},
            {"blk.0.ffn_up.weight": "BF16", "blk.1.ffn_up.weight": "IQ4_XS", "blk.1.attn_q.weight": "Q4_K"},
        ),
        ({"level": "COPY"}, {"blk.0.ffn_up.weight": "F32", "token_embd.weight": "F32"}),
        ({"level": "F16"}, {"blk.0.ffn_up.weight": "F16", "blk.0.attn_norm.weight": "F32"}),
    ],
)
def test_the_types_that_were_asked_for(wide_model: Path, options: dict[str, object], expected: dict[str, str]) -> None:
    found = types_of(wide_model, msgspec.structs.replace(Recipe(level="Q4_K_M"), **options))
    assert {name: found[name] for name in expected} == expected


def test_overrides_reach_the_file(wide_model: Path, tmp_path: Path) -> None:
    recipe = Recipe(level="Q8_0", overrides=(Override("attn_v", "F16"),))
    quantize(wide_model, tmp_path / "out.gguf", recipe)
    kinds = {name: kind for name, (kind, _) in raw(tmp_path / "out.gguf").items()}
    assert kinds == types_of(wide_model, recipe)
    assert kinds["blk.2.attn_v.weight"] == "F16"


def test_pruned_layers_are_gone_and_the_others_close_ranks(
    wide_model: Path, wide_imatrix: Path, tmp_path: Path
) -> None:
    whole = Recipe(level="Q3_K_S", imatrix=str(wide_imatrix))
    quantize(wide_model, tmp_path / "whole.gguf", whole)
    quantize(wide_model, tmp_path / "pruned.gguf", msgspec.structs.replace(whole, prune=(0,)))
    before, after = raw(tmp_path / "whole.gguf"), raw(tmp_path / "pruned.gguf")
    assert read_header(tmp_path / "pruned.gguf").layers == 2
    # With the entries of the imatrix that were theirs before.
    for new, old in ((0, 1), (1, 2)):
        for part in ("attn_q", "attn_output", "ffn_gate"):
            assert after[f"blk.{new}.{part}.weight"] == before[f"blk.{old}.{part}.weight"]
    assert not any(name.startswith("blk.2.") for name in after)


@pytest.mark.parametrize("level", ["Q3_K_S", "IQ4_XS"])
def test_an_imatrix_lowers_the_error_that_its_inputs_see(
    wide_model: Path, wide_imatrix: Path, tmp_path: Path, level: str
) -> None:
    quantize(wide_model, tmp_path / "without.gguf", Recipe(level=level))
    quantize(wide_model, tmp_path / "with.gguf", Recipe(level=level, imatrix=str(wide_imatrix)))
    original, matrix = weights(wide_model), read_imatrix(wide_imatrix)
    found = {name: weights(tmp_path / f"{name}.gguf") for name in ("without", "with")}
    for name, entry in matrix.entries.items():
        error = {
            how: float((((known[name] - original[name]) ** 2) * entry.weights()).sum()) for how, known in found.items()
        }
        assert error["with"] < error["without"], name


def test_an_imatrix_of_experts_is_applied_expert_by_expert(expert_model: Path, tmp_path: Path) -> None:
    target = tmp_path / "imatrix.gguf"
    collect_imatrix(read_header(expert_model), STORIES, target, chunks=2)
    done = quantize(expert_model, tmp_path / "out.gguf", Recipe(level="Q3_K_S", imatrix=str(target)))
    assert done.plan.imatrix is not None
    assert done.plan.imatrix.missing == ()


@pytest.fixture(scope="module")
def reference(stories_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Reference]:
    with Reference(stories_model, threads=1, scratch=tmp_path_factory.mktemp("scratch")) as known:
        yield known


@pytest.fixture(scope="module")
def stories_imatrix(stories_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    target = tmp_path_factory.mktemp("stories") / "imatrix.gguf"
    collect_imatrix(read_header(stories_model), STORIES, target, threads=1)
    return target


# Rows of 64 values: llama.cpp puts IQ3 into IQ4_NL and Q3_K into Q4_0 here, and both take an imatrix.
@pytest.mark.parametrize(("level", "taken"), [("IQ3_XXS", "IQ4_NL"), ("Q3_K_M", "Q4_0")])
def test_a_trained_model_diverges_less_with_an_imatrix(
    stories_model: Path, stories_imatrix: Path, reference: Reference, tmp_path: Path, level: str, taken: str
) -> None:
    divergence = {}
    for name, imatrix in (("without", None), ("with", str(stories_imatrix))):
        done = quantize(stories_model, tmp_path / f"{name}.gguf", Recipe(level=level, imatrix=imatrix))
        divergence[name] = reference.compare(tmp_path / f"{name}.gguf")["kl_mean"]
        assert [tensor.target_type for tensor in done.plan.tensors].count(taken) >= 20
        if done.plan.imatrix is not None:
            assert (done.plan.imatrix.used, done.plan.imatrix.missing) == (30, ())
    assert divergence["with"] < divergence["without"]


def test_levels_that_need_an_imatrix_say_so_before(wide_model: Path, wide_imatrix: Path) -> None:
    for level in ("IQ3_XXS", "IQ2_M", "IQ1_S", "Q2_K_S"):
        without, with_one = plan(wide_model, [Recipe(level=level), Recipe(level=level, imatrix=str(wide_imatrix))])
        check_plan(with_one)
        with pytest.raises(RequestError, match=rf"{level} puts blk.*, which needs an imatrix"):
            check_plan(without)


def test_an_imatrix_without_the_entries_that_are_needed_is_refused_before(
    wide_model: Path, wide_imatrix: Path, tmp_path: Path
) -> None:
    matrix = read_imatrix(wide_imatrix)
    some = {name: entry for name, entry in matrix.entries.items() if "ffn_up" not in name}
    Imatrix(some, matrix.datasets, matrix.chunks, matrix.chunk_tokens).write(tmp_path / "some.gguf")
    (planned,) = plan(wide_model, [Recipe(level="IQ3_XXS", imatrix=str(tmp_path / "some.gguf"))])
    assert planned.imatrix is not None
    assert planned.imatrix.missing == tuple(f"blk.{layer}.ffn_up.weight" for layer in range(3))
    with pytest.raises(RequestError, match=r"some\.gguf has none for them"):
        check_plan(planned)


def test_an_imatrix_of_another_model_is_refused(tiny_model: Path, wide_imatrix: Path) -> None:
    with pytest.raises(ArtifactError, match=r"imatrix\.gguf is of another model"):
        plan(tiny_model, [Recipe(level="Q4_K_M", imatrix=str(wide_imatrix))])


def test_what_is_quantized_already(wide_model: Path, tmp_path: Path) -> None:
    small = tmp_path / "small.gguf"
    quantize(wide_model, small, Recipe(level="Q8_0"))
    with pytest.raises(RequestError, match=r"quantized already.*--requantize"):
        quantize(small, tmp_path / "again.gguf", Recipe(level="Q4_0"))
    with pytest.raises(RequestError, match="is Q8_0 already: no tensor would change"):
        quantize(small, tmp_path / "again.gguf", Recipe(level="Q8_0"))
    assert [path.name for path in tmp_path.iterdir()] == ["small.gguf"]
    quantize(small, tmp_path / "again.gguf", Recipe(level="Q4_0", requantize=True))
    assert (tmp_path / "again.gguf").stat().st_size < small.stat().st_size


def _quantize(source: Path, target: Path) -> Result:
    return quantize(source, target, Recipe(level="Q8_0"))


def test_weights_that_are_not_numbers_are_refused(wide_model: Path, tmp_path: Path) -> None:
    source = tmp_path / "nan.gguf"
    shutil.copyfile(wide_model, source)
    tensor = read_header(source).tensors["blk.1.ffn_up.weight"]
    with source.open("r+b") as file:
        file.seek(tensor.offset + 400)
        file.write(np.float32(np.nan).tobytes())
    with pytest.raises(ModelLoadError, match=r"blk\.1\.ffn_up\.weight.*invalid data"):
        _quantize(source, tmp_path / "out.gguf")
    assert [path.name for path in tmp_path.iterdir()] == ["nan.gguf"]


def test_what_is_no_model(tmp_path: Path, wide_imatrix: Path) -> None:
    def empty(name: str, architecture: str) -> Path:
        writer = gguf.GGUFWriter(tmp_path / name, architecture)
        writer.write_header_to_file()
        writer.write_kv_data_to_file()
        writer.write_tensors_to_file()
        writer.close()
        return tmp_path / name

    cases: list[tuple[Path, type[EdgeAgentError], str]] = [
        (empty("vocabulary.gguf", "llama"), ArtifactError, "a vocabulary only"),
        (wide_imatrix, ArtifactError, "not a model, but GGUF of type imatrix"),
        (tmp_path / "absent.gguf", ArtifactError, "does not exist"),
        (tmp_path, ArtifactError, "is not a file"),
    ]
    for source, error, says in cases:
        with pytest.raises(error, match=says):
            _quantize(source, tmp_path / "out.gguf")


def test_an_unknown_architecture_is_named(tiny_model: Path, tmp_path: Path) -> None:
    data = tiny_model.read_bytes()
    source = tmp_path / "other.gguf"
    source.write_bytes(data.replace(b"qwen2", b"zwen2"))
    with pytest.raises(ModelLoadError, match="unknown model architecture: 'zwen2'"):
        _quantize(source, tmp_path / "out.gguf")


def test_too_little_room_is_said_before(wide_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("convert.artifact.MARGIN_BYTES", 1 << 60)
    with pytest.raises(DiskFullError, match="MB free"):
        _quantize(wide_model, tmp_path / "out.gguf")
    assert not (tmp_path / "out.gguf").exists()
