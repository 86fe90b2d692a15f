"""The small random Whisper of `small_whisper` in the layout of onnx-community: what Optimum exports, made with onnx.

The encoder gives its states, with positions for the whole window alone. The decoder has an If on `use_cache_branch`:
without a cache all tokens at once, keys and values of the audio made; with it one token, those of the audio empty.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from tests.convert.whisper.small_whisper import config, generation_config, weights
from tests.engines.onnx.whisper.tiny import CAPACITY, letters

OPSET = 20
Array = np.ndarray[Any, Any]


class Ops:
    """Nodes of one graph or branch, and its constants."""

    def __init__(self, tensors: dict[str, Array], settings: dict[str, Any], heads: int, prefix: str) -> None:
        self.nodes: list[onnx.NodeProto] = []
        self.constants: list[onnx.TensorProto] = []
        self.tensors, self.d, self.heads, self.prefix = tensors, settings["d_model"], heads, prefix

    def __call__(self, kind: str, *inputs: str, out: str = "", **attributes: Any) -> str:
        name = out or f"{self.prefix}{kind}_{len(self.nodes)}"
        self.nodes.append(helper.make_node(kind, inputs, [name], **attributes))
        return name

    def constant(self, values: Any, dtype: Any = np.float32) -> str:
        name = f"{self.prefix}constant_{len(self.constants)}"
        self.constants.append(numpy_helper.from_array(np.asarray(values, dtype), name))
        return name

    def weight(self, name: str) -> str:
        return self.constant(self.tensors[name])

    def linear(self, x: str, name: str, scale: float = 1.0) -> str:
        y = self("MatMul", x, self.constant(self.tensors[f"{name}.weight"].T * scale))
        bias = self.tensors.get(f"{name}.bias")
        return y if bias is None else self("Add", y, self.constant(bias * scale))

    def norm(self, x: str, name: str) -> str:
        return self("LayerNormalization", x, self.weight(f"{name}.weight"), self.weight(f"{name}.bias"), epsilon=1e-5)

    def split(self, x: str) -> str:
        """[batch, n, d] -> [batch, heads, n, dim]"""
        shape = self.constant([0, 0, self.heads, self.d // self.heads], np.int64)
        return self("Transpose", self("Reshape", x, shape), perm=[0, 2, 1, 3])

    def attend(self, query: str, key: str, value: str, name: str, mask: str = "") -> str:
        scores = self("MatMul", query, self("Transpose", key, perm=[0, 1, 3, 2]))
        if mask:
            scores = self("Add", scores, mask)
        mixed = self("Transpose", self("MatMul", self("Softmax", scores, axis=-1), value), perm=[0, 2, 1, 3])
        joined = self("Reshape", mixed, self.constant([0, 0, self.d], np.int64))
        return self.linear(joined, f"{name}.out_proj")

    def query(self, x: str, name: str) -> str:
        return self.split(self.linear(x, f"{name}.q_proj", (self.d // self.heads) ** -0.5))

    def key_value(self, x: str, name: str) -> tuple[str, str]:
        return self.split(self.linear(x, f"{name}.k_proj")), self.split(self.linear(x, f"{name}.v_proj"))

    def feed_forward(self, x: str, name: str) -> str:
        y = self("Gelu", self.linear(self.norm(x, f"{name}.final_layer_norm"), f"{name}.fc1"))
        return self("Add", x, self.linear(y, f"{name}.fc2"))


def write_import(folder: Path, *, place: str = "onnx", **generation: Any) -> Path:
    """A folder as it is downloaded; `generation` changes generation_config.json."""
    settings = config(num_mel_bins=80, max_source_positions=50, max_target_positions=CAPACITY)
    tensors = weights(settings)
    (folder / place).mkdir(parents=True, exist_ok=True)
    onnx.save(_encoder(settings, tensors), str(folder / place / "encoder_model_quantized.onnx"))
    onnx.save(_decoder(settings, tensors), str(folder / place / "decoder_model_merged_quantized.onnx"))
    files = {
        "config.json": settings,
        "generation_config.json": generation_config(**generation),
        "preprocessor_config.json": {"feature_size": 80},
        "tokenizer.json": letters(),
    }
    for name, content in files.items():
        (folder / name).write_text(json.dumps(content))
    return folder


def _encoder(settings: dict[str, Any], tensors: dict[str, Array]) -> onnx.ModelProto:
    ops = Ops(tensors, settings, settings["encoder_attention_heads"], "")
    x = "input_features"
    for index, stride in ((1, 1), (2, 2)):
        name = f"model.encoder.conv{index}"
        x = ops("Conv", x, ops.weight(f"{name}.weight"), ops.weight(f"{name}.bias"), pads=[1, 1], strides=[stride])
        x = ops("Gelu", x)
    x = ops("Add", ops("Transpose", x, perm=[0, 2, 1]), ops.weight("model.encoder.embed_positions.weight"))
    for index in range(settings["encoder_layers"]):
        name = f"model.encoder.layers.{index}"
        y = ops.norm(x, f"{name}.self_attn_layer_norm")
        key, value = ops.key_value(y, f"{name}.self_attn")
        x = ops("Add", x, ops.attend(ops.query(y, f"{name}.self_attn"), key, value, f"{name}.self_attn"))
        x = ops.feed_forward(x, name)
    ops.nodes.append(
        helper.make_node(
            "LayerNormalization",
            [x, ops.weight("model.encoder.layer_norm.weight"), ops.weight("model.encoder.layer_norm.bias")],
            ["last_hidden_state"],
            epsilon=1e-5,
        )
    )
    inputs = [helper.make_tensor_value_info("input_features", TensorProto.FLOAT, ["batch", 80, "frames"])]
    outputs = [helper.make_tensor_value_info("last_hidden_state", TensorProto.FLOAT, ["batch", "positions", ops.d])]
    return _model(helper.make_graph(ops.nodes, "encoder", inputs, outputs, ops.constants))


def _names(settings: dict[str, Any]) -> list[str]:
    kinds = [(part, kind) for part in ("decoder", "encoder") for kind in ("key", "value")]
    return [f"{layer}.{part}.{kind}" for layer in range(settings["decoder_layers"]) for part, kind in kinds]


def _decoder(settings: dict[str, Any], tensors: dict[str, Array]) -> onnx.ModelProto:
    heads, d = settings["decoder_attention_heads"], settings["d_model"]
    cache = ["batch", heads, "past", d // heads]
    inputs = [
        helper.make_tensor_value_info("input_ids", TensorProto.INT64, ["batch", "n"]),
        helper.make_tensor_value_info("encoder_hidden_states", TensorProto.FLOAT, ["batch", "positions", d]),
        *(
            helper.make_tensor_value_info(f"past_key_values.{name}", TensorProto.FLOAT, cache)
            for name in _names(settings)
        ),
        helper.make_tensor_value_info("use_cache_branch", TensorProto.BOOL, [1]),
    ]
    outputs = ["logits", *(f"present.{name}" for name in _names(settings))]
    made = [helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in outputs]
    branch = helper.make_node(
        "If",
        ["use_cache_branch"],
        outputs,
        then_branch=_branch(settings, tensors, cached=True),
        else_branch=_branch(settings, tensors, cached=False),
    )
    return _model(helper.make_graph([branch], "decoder", inputs, made))


def _branch(settings: dict[str, Any], tensors: dict[str, Array], *, cached: bool) -> onnx.GraphProto:
    prefix = "with_" if cached else "without_"
    ops = Ops(tensors, settings, settings["decoder_attention_heads"], prefix)
    ids = ops("Shape", "input_ids", start=1, end=2)
    past = ops("Shape", "past_key_values.0.decoder.key", start=2, end=3)
    zero, one = ops.constant(0, np.int64), ops.constant(1, np.int64)
    start = ops("Squeeze", past) if cached else zero
    rows = ops("Range", start, ops("Add", start, ops("Squeeze", ids)), one)
    x = ops("Add", ops("Gather", ops.weight("model.decoder.embed_tokens.weight"), "input_ids"),
            ops("Gather", ops.weight("model.decoder.embed_positions.weight"), rows))  # fmt: skip
    mask = ""
    if not cached:  # the branch with a cache has no mask: it is for one token
        columns = ops("Unsqueeze", rows, zero)
        later = ops("Greater", columns, ops("Unsqueeze", rows, one))
        mask = ops("Where", later, ops.constant(-1e9), ops.constant(0.0))
    present = {}
    for index in range(settings["decoder_layers"]):
        name = f"model.decoder.layers.{index}"
        y = ops.norm(x, f"{name}.self_attn_layer_norm")
        pair = ops.key_value(y, f"{name}.self_attn")
        if cached:
            pair = tuple(
                ops("Concat", f"past_key_values.{index}.decoder.{kind}", new, axis=2)
                for kind, new in zip(("key", "value"), pair, strict=True)
            )  # type: ignore[assignment]
        x = ops("Add", x, ops.attend(ops.query(y, f"{name}.self_attn"), *pair, f"{name}.self_attn", mask))
        y = ops.norm(x, f"{name}.encoder_attn_layer_norm")
        sound = ops.key_value("encoder_hidden_states", f"{name}.encoder_attn")
        if cached:
            sound = (f"past_key_values.{index}.encoder.key", f"past_key_values.{index}.encoder.value")
        x = ops("Add", x, ops.attend(ops.query(y, f"{name}.encoder_attn"), *sound, f"{name}.encoder_attn"))
        x = ops.feed_forward(x, name)
        empty = ops.constant(np.zeros((0, ops.heads, 1, ops.d // ops.heads)))
        for kind, own, heard in zip(("key", "value"), pair, sound, strict=True):
            present[f"{index}.decoder.{kind}"] = own
            present[f"{index}.encoder.{kind}"] = empty if cached else heard
    x = ops.norm(x, "model.decoder.layer_norm")
    logits = ops("MatMul", x, ops.constant(tensors["model.decoder.embed_tokens.weight"].T))
    named = {"logits": logits, **{f"present.{name}": present[name] for name in _names(settings)}}
    outputs = [ops("Identity", value, out=f"{prefix}{name}") for name, value in named.items()]
    infos = [helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in outputs]
    return helper.make_graph(ops.nodes, prefix, [], infos, ops.constants)


def _model(graph: onnx.GraphProto) -> onnx.ModelProto:
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=10)
