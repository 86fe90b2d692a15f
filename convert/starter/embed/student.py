"""The student: the teacher's embeddings of a small vocabulary, and two of its six layers to begin with."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import torch
from tokenizers import Tokenizer
from transformers import BertConfig, BertModel

from convert.starter.embed.teacher import Teacher, pooled
from convert.starter.embed.vocabulary import small_tokenizer

LAYERS: Final = (0, 5)
"""Of the teacher: the first knows words, the last speaks in the vectors that are wanted."""
MAX_TOKENS: Final = 256
"""Positions kept: about 180 words, a passage of a collection. The teacher has 512, and uses 256."""


class Student(torch.nn.Module):
    """Token ids in, vectors of length 1 out."""

    def __init__(self, encoder: BertModel, tokenizer: dict[str, Any]) -> None:
        super().__init__()
        self.encoder = encoder
        self.tokenizer_json = tokenizer
        self.tokenizer = Tokenizer.from_str(json.dumps(tokenizer))
        self.tokenizer.enable_truncation(encoder.config.max_position_embeddings)

    @classmethod
    def from_teacher(cls, teacher: Teacher, entries: Sequence[str]) -> Student:
        """`entries` are of the teacher's vocabulary; the student's ids are their places."""
        theirs = teacher.model
        settings = theirs.config.to_dict() | {
            "vocab_size": len(entries),
            "num_hidden_layers": len(LAYERS),
            "max_position_embeddings": MAX_TOKENS,
            "hidden_dropout_prob": 0.0,
            "attention_probs_dropout_prob": 0.0,
            "pad_token_id": 0,
        }
        encoder = BertModel(BertConfig.from_dict(settings), add_pooling_layer=False)
        encoder.set_attn_implementation("eager")  # on a CPU the backward pass of the fused one takes ten times as long
        ids = {word: index for index, word in enumerate(teacher.vocabulary)}
        kept = torch.tensor([ids[word] for word in entries])
        with torch.no_grad():
            mine, whole = encoder.embeddings, theirs.embeddings
            mine.word_embeddings.weight.copy_(whole.word_embeddings.weight[kept])
            mine.position_embeddings.weight.copy_(whole.position_embeddings.weight[:MAX_TOKENS])
            mine.token_type_embeddings.weight.copy_(whole.token_type_embeddings.weight)
        mine.LayerNorm.load_state_dict(whole.LayerNorm.state_dict())
        for place, layer in enumerate(LAYERS):
            encoder.encoder.layer[place].load_state_dict(theirs.encoder.layer[layer].state_dict())
        return cls(encoder, small_tokenizer(teacher.tokenizer_json, entries))

    def rows(self, texts: Sequence[str]) -> list[list[int]]:
        """Token ids of each text, special ones included."""
        return [encoding.ids for encoding in self.tokenizer.encode_batch(list(texts))]

    def forward(self, ids: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        """int64 [B, n] twice -> float32 [B, 384]."""
        return pooled(self.encoder(input_ids=ids, attention_mask=mask).last_hidden_state, mask)

    def save(self, folder: Path) -> None:
        """A checkpoint in the layout of sentence-transformers, which `edge-convert embed` reads."""
        self.encoder.save_pretrained(folder)
        kinds = ("Transformer", "Pooling", "Normalize")
        paths = ("", "1_Pooling", "2_Normalize")
        files: dict[str, Any] = {
            "tokenizer.json": self.tokenizer_json,
            "modules.json": [
                {"idx": index, "name": str(index), "path": path, "type": f"sentence_transformers.models.{kind}"}
                for index, (kind, path) in enumerate(zip(kinds, paths, strict=True))
            ],
            "sentence_bert_config.json": {"max_seq_length": MAX_TOKENS, "do_lower_case": False},
            "1_Pooling/config.json": {
                "word_embedding_dimension": self.encoder.config.hidden_size,
                "pooling_mode_mean_tokens": True,
            },
        }
        for name, content in files.items():
            path = folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(json.dumps(content, indent=1 if name != "tokenizer.json" else None), "utf-8")
