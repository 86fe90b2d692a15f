"""Encoders of every supported architecture, small enough for a test: random weights, a tokenizer of 36 words."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from tokenizers.pre_tokenizers import Whitespace
from tokenizers.processors import TemplateProcessing

from tests.convert.hf_folder import write_checkpoint

WIDTH, HEADS, LAYERS, FEED_FORWARD = 16, 4, 2, 24
POSITIONS = 200
"""More than 128: from there on MPNet has all distances in one bucket."""
WORDS = [f"w{index}" for index in range(32)]
VOCABULARY = 4 + len(WORDS)
TEXTS = ["w3 w1 w4 w1 w5", "w9", "w2 w6 w5 w3 w5 w8 w9 w7", " ".join(WORDS[(7 * i) % 32] for i in range(150))]

Tensors = dict[str, np.ndarray[Any, Any]]

_BERT = {
    "attention.self.query": (WIDTH, WIDTH),
    "attention.self.key": (WIDTH, WIDTH),
    "attention.self.value": (WIDTH, WIDTH),
    "attention.output.dense": (WIDTH, WIDTH),
    "attention.output.LayerNorm": (WIDTH,),
    "intermediate.dense": (FEED_FORWARD, WIDTH),
    "output.dense": (WIDTH, FEED_FORWARD),
    "output.LayerNorm": (WIDTH,),
}
_MPNET = {
    "attention.attn.q": (WIDTH, WIDTH),
    "attention.attn.k": (WIDTH, WIDTH),
    "attention.attn.v": (WIDTH, WIDTH),
    "attention.attn.o": (WIDTH, WIDTH),
    "attention.LayerNorm": (WIDTH,),
    "intermediate.dense": (FEED_FORWARD, WIDTH),
    "output.dense": (WIDTH, FEED_FORWARD),
    "output.LayerNorm": (WIDTH,),
}
_DISTILBERT = {
    "attention.q_lin": (WIDTH, WIDTH),
    "attention.k_lin": (WIDTH, WIDTH),
    "attention.v_lin": (WIDTH, WIDTH),
    "attention.out_lin": (WIDTH, WIDTH),
    "sa_layer_norm": (WIDTH,),
    "ffn.lin1": (FEED_FORWARD, WIDTH),
    "ffn.lin2": (WIDTH, FEED_FORWARD),
    "output_layer_norm": (WIDTH,),
}


@dataclass(frozen=True)
class Case:
    """One checkpoint: what its config.json says besides the sizes, and what follows the transformer."""

    model_type: str
    pooling: tuple[str, ...]
    config: Mapping[str, Any] = field(default_factory=dict)
    dense: int = 0
    normalize: bool = False


CASES = {
    "bert": Case("bert", ("mean_tokens",), normalize=True),
    "bert-heads": Case("bert", ("cls_token", "max_tokens", "weightedmean_tokens"), {"hidden_act": "gelu_new"}, dense=6),
    "distilbert": Case("distilbert", ("cls_token",)),
    "mpnet": Case("mpnet", ("mean_tokens",), normalize=True),
    "roberta": Case("roberta", ("mean_sqrt_len_tokens",), {"hidden_act": "relu"}),
    "xlm-roberta": Case("xlm-roberta", ("lasttoken",), normalize=True),
}


def config_of(case: Case) -> dict[str, Any]:
    after_padding = case.model_type in ("mpnet", "roberta", "xlm-roberta")
    config: dict[str, Any] = {
        "model_type": case.model_type,
        "vocab_size": VOCABULARY,
        "max_position_embeddings": POSITIONS + 2 * after_padding,
        "pad_token_id": 1 if after_padding else 0,
    }
    if case.model_type == "distilbert":
        config |= {"dim": WIDTH, "n_layers": LAYERS, "n_heads": HEADS, "hidden_dim": FEED_FORWARD}
    else:
        config |= {
            "hidden_size": WIDTH,
            "num_hidden_layers": LAYERS,
            "num_attention_heads": HEADS,
            "intermediate_size": FEED_FORWARD,
            "layer_norm_eps": 1e-5,
        }
    if case.model_type in ("bert", "roberta", "xlm-roberta"):
        config["type_vocab_size"] = 2
    return {**config, **case.config}


def tensors_of(case: Case, seed: int = 7) -> Tensors:
    """float32. `RandomState` is frozen: its numbers never change (numpy's NEP 19)."""
    random = np.random.RandomState(seed)

    def made(*shape: int, scale: float, around: float = 0.0) -> np.ndarray[Any, Any]:
        return (around + scale * random.standard_normal(shape)).astype(np.float32)

    config = config_of(case)
    tensors = {
        "embeddings.word_embeddings.weight": made(VOCABULARY, WIDTH, scale=0.7),
        "embeddings.position_embeddings.weight": made(config["max_position_embeddings"], WIDTH, scale=0.3),
        "embeddings.LayerNorm.weight": made(WIDTH, scale=0.2, around=1.0),
        "embeddings.LayerNorm.bias": made(WIDTH, scale=0.2),
    }
    if "type_vocab_size" in config:
        tensors["embeddings.token_type_embeddings.weight"] = made(2, WIDTH, scale=0.3)
    if case.model_type == "mpnet":
        tensors["encoder.relative_attention_bias.weight"] = made(32, HEADS, scale=1.5)
    shapes = {"mpnet": _MPNET, "distilbert": _DISTILBERT}.get(case.model_type, _BERT)
    stack = "transformer" if case.model_type == "distilbert" else "encoder"
    for layer in range(LAYERS):
        for module, shape in shapes.items():
            is_norm = len(shape) == 1
            name = f"{stack}.layer.{layer}.{module}"
            tensors[f"{name}.weight"] = made(*shape, scale=0.2 if is_norm else 0.5, around=1.0 if is_norm else 0.0)
            tensors[f"{name}.bias"] = made(shape[0], scale=0.2)
    return tensors


def dense_tensors(case: Case) -> Tensors:
    random = np.random.RandomState(11)
    inputs = WIDTH * len(case.pooling)
    return {
        "linear.weight": (0.2 * random.standard_normal((case.dense, inputs))).astype(np.float32),
        "linear.bias": (0.2 * random.standard_normal(case.dense)).astype(np.float32),
    }


def tokenizer_of(case: Case) -> Tokenizer:
    """[CLS] text [SEP], or <s> text </s>; one word is one token."""
    special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]"]
    if config_of(case)["pad_token_id"] == 1:
        special = ["<s>", "<pad>", "</s>", "<unk>"]
    start, end = (special[0], special[2]) if special[0] == "<s>" else (special[2], special[3])
    vocabulary = {word: index for index, word in enumerate([*special, *WORDS])}
    tokenizer = Tokenizer(WordLevel(vocabulary, unk_token=next(word for word in special if "unk" in word.lower())))
    tokenizer.pre_tokenizer = Whitespace()
    tokenizer.post_processor = TemplateProcessing(
        single=f"{start} $A {end}", special_tokens=[(start, vocabulary[start]), (end, vocabulary[end])]
    )
    tokenizer.add_special_tokens(special)
    return tokenizer


def files_of(case: Case) -> dict[str, Any]:
    """What stands beside the weights, without the Dense module's folder."""
    kinds = ["Transformer", "Pooling", *(["Dense"] if case.dense else []), *(["Normalize"] if case.normalize else [])]
    return {
        "tokenizer.json": tokenizer_of(case).to_str(),
        "modules.json": [
            {
                "idx": i,
                "name": str(i),
                "path": f"{i}_{kind}" if i else "",
                "type": f"sentence_transformers.models.{kind}",
            }
            for i, kind in enumerate(kinds)
        ],
        "1_Pooling/config.json": {
            "word_embedding_dimension": WIDTH,
            "pooling_mode_mean_tokens": False,
            **{f"pooling_mode_{mode}": True for mode in case.pooling},
        },
        "sentence_bert_config.json": {"max_seq_length": 180, "do_lower_case": False},
    }


def write_encoder(
    folder: Path, case: Case, *, tensors: Tensors | None = None, files: Mapping[str, Any] | None = None
) -> Path:
    """The whole checkpoint; `files` replace single ones, and None removes one."""
    beside = {name: content for name, content in {**files_of(case), **(files or {})}.items() if content is not None}
    write_checkpoint(folder, config_of(case), tensors_of(case) if tensors is None else tensors, files=beside)
    if case.dense:
        settings = {
            "in_features": WIDTH * len(case.pooling),
            "out_features": case.dense,
            "bias": True,
            "activation_function": "torch.nn.modules.activation.Tanh",
        }
        write_checkpoint(folder / "2_Dense", settings, dense_tensors(case))
    return folder
