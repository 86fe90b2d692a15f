"""`edge-agent models pull` as a person types it, against a hub of our own."""

from __future__ import annotations

import json
from pathlib import Path

from agent.store.store import Store
from tests.daemon_process import edge_agent, running_daemon
from tests.hub.hub_server import COMMIT, Hub
from tests.hub.pull_process import TINY, keeping_back, manifest, nothing_left, pull, pulled


def test_a_gguf_is_imported_with_its_license_and_where_it_came_from(tmp_path: Path, hub: Hub, tiny_model: Path) -> None:
    done = pull(tmp_path, hub, TINY)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("Imported tiny-f32 1 (F32, ")
    assert "org/tiny-GGUF: F32, " in done.stderr
    assert "license apache-2.0" in done.stderr
    (model,) = Store(tmp_path / "state" / "models").models()
    assert model.main_path.read_bytes() == tiny_model.read_bytes()
    assert (model.manifest.license, model.manifest.source) == ("apache-2.0", f"hf:org/tiny-GGUF@{COMMIT}")
    assert model.manifest.metadata["hub"] == {
        "repository": "org/tiny-GGUF",
        "revision": COMMIT,
        "files": {"model.gguf": "tiny-f32.gguf"},
    }
    assert edge_agent(tmp_path, "models", "verify").returncode == 0
    assert nothing_left(tmp_path)
    assert hub.sent == {"tiny-f32.gguf": tiny_model.stat().st_size}


def test_nothing_else_is_asked_and_storage_gets_no_token(tmp_path: Path, hub: Hub) -> None:
    assert pull(tmp_path, hub, TINY, HF_TOKEN=hub.token, AI_AGENT="someone").returncode == 0
    assert hub.asked == ["/api/models/org/tiny-GGUF", f"/org/tiny-GGUF/resolve/{COMMIT}/tiny-f32.gguf"]
    assert hub.storage_tokens == []


def test_a_second_time_nothing_is_brought(tmp_path: Path, hub: Hub) -> None:
    first = pulled(tmp_path, hub, TINY)
    hub.forget()
    again = pulled(tmp_path, hub, TINY)
    assert (first["created"], again["created"]) == (True, False)
    assert hub.sent_bytes == 0
    assert pull(tmp_path, hub, TINY).stdout.startswith("There already: tiny-f32 1")
    other = pulled(tmp_path, hub, TINY, "--version", "b", "--activate")
    assert (other["version"], other["active"], other["created"]) == ("b", True, True)


def test_a_new_commit_is_the_next_version(tmp_path: Path, hub: Hub, embedding_model: Path) -> None:
    assert pulled(tmp_path, hub, TINY)["version"] == "1"
    hub.repositories["org/tiny-GGUF"]["tiny-f32.gguf"] = embedding_model.read_bytes()
    value = pulled(tmp_path, hub, TINY)
    assert (value["version"], value["active"], value["task"]) == ("2", False, "embed")
    hub.repositories["org/tiny-GGUF"]["tiny-f32.gguf"] += b"more"
    hub.forget()
    taken = pull(tmp_path, hub, TINY, "--version", "2")
    assert (taken.returncode, "Version 2 of tiny-f32 is already in the store" in taken.stderr) == (1, True)
    assert hub.sent_bytes == 0


def test_a_split_gguf_is_brought_with_all_its_parts(tmp_path: Path, hub: Hub, tiny_model: Path) -> None:
    hub.repositories["org/tiny-GGUF"] = parts_of(tiny_model, tmp_path)
    value = pulled(tmp_path, hub, "hf:org/tiny-GGUF:q8_0", "--name", "split")
    files = [file["path"] for file in manifest(value)["files"]]
    assert len(files) > 1
    assert files == [f"model-{at:05d}-of-{len(files):05d}.gguf" for at in range(1, len(files) + 1)]


def parts_of(model: Path, folder: Path) -> dict[str, bytes]:
    """The model in parts, as gguf-split makes them: metadata in the first, tensors spread over all."""
    import gguf

    reader = gguf.GGUFReader(model)
    prefix = folder / "tiny-q8_0"
    writer = gguf.GGUFWriter(None, "", split_max_tensors=len(reader.tensors) // 2)
    for field in reader.fields.values():
        if not field.name.startswith("GGUF."):
            kind = field.types[0]
            sub_type = field.types[-1] if kind == gguf.GGUFValueType.ARRAY else None
            writer.add_key_value(field.name, field.contents(), kind, sub_type)
    for tensor in reader.tensors:
        writer.add_tensor(tensor.name, tensor.data, raw_dtype=tensor.tensor_type)
    writer.arch = str(reader.fields["general.architecture"].contents())
    writer.kv_data[0].pop("", None)
    writer.write_header_to_file(prefix.with_suffix(".gguf"))
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return {path.name: path.read_bytes() for path in folder.glob("tiny-q8_0-*.gguf")}


def test_a_whisper_comes_with_its_merged_decoder_and_tokenizer(tmp_path: Path, hub: Hub) -> None:
    value = pulled(tmp_path, hub, "hf:onnx-community/whisper-small-random")
    assert (value["name"], value["task"], value["quantization"]) == ("whisper-small-random", "transcribe", "int8")
    assert {file["path"] for file in manifest(value)["files"]} == {
        "config.json",
        "generation_config.json",
        "onnx/decoder_model_merged_quantized.onnx",
        "onnx/encoder_model_quantized.onnx",
        "preprocessor_config.json",
        "tokenizer.json",
    }
    assert "onnx/decoder_model.onnx" not in hub.sent


def test_an_encoder_comes_with_the_graph_for_this_cpu_and_its_pooling(tmp_path: Path, hub: Hub) -> None:
    value = pulled(tmp_path, hub, "hf:org/encoder")
    found = manifest(value)
    assert (value["task"], found["license"], found["embedding_dim"]) == ("embed", "own", 4)
    assert {"1_Pooling/config.json", "modules.json", "tokenizer.json"} <= {file["path"] for file in found["files"]}
    assert not [path for path in hub.sent if path.endswith(".bin")]
    assert edge_agent(tmp_path, "models", "verify").returncode == 0


def test_what_was_pulled_answers(tmp_path: Path, hub: Hub) -> None:
    with running_daemon(tmp_path) as daemon:
        done = pull(tmp_path, hub, TINY, "--name", "tiny")
        assert done.stdout.endswith("The daemon serves it.\n"), done.stderr
        assert pull(tmp_path, hub, "hf:org/encoder").stdout.endswith("The daemon serves it.\n")
        completion = {"model": "tiny", "prompt": "a", "max_tokens": 2}
        assert daemon.request("POST", "/v1/completions", completion)[0] == 200
        status, answer = daemon.request("POST", "/v1/embeddings", {"model": "encoder", "input": "a b"})
        assert (status, len(answer["data"][0]["embedding"])) == (200, 4)


def test_suggest_says_what_fits_and_why_others_do_not(tmp_path: Path) -> None:
    text = edge_agent(tmp_path, "models", "suggest", "--profile", "pi-5", "--task", "generate")
    assert text.returncode == 0, text.stderr
    assert "edge-agent models pull hf:Qwen/Qwen2.5-1.5B-Instruct-GGUF:Q4_K_M" in text.stdout
    config = keeping_back(tmp_path, 16_000_000)
    value = json.loads(edge_agent(tmp_path, "models", "suggest", "--json", "--config", config).stdout)
    assert {one["task"] for one in value["models"]} == {"generate", "embed", "transcribe"}
    assert not any(one["fits"] for one in value["models"])
    assert all("and the board has 0 MB for models" in one["reason"] for one in value["models"])
    nothing = edge_agent(tmp_path, "models", "suggest", "--config", config).stdout
    assert nothing.startswith("None of them fits this board now")
