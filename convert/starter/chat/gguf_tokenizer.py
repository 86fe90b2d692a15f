"""The tokenizer and the chat template as GGUF has them, so that llama.cpp splits text as training did."""

from __future__ import annotations

import gguf
from tokenizers import Tokenizer

from convert.starter.chat import tokenizer as bpe


def add_tokenizer(writer: gguf.GGUFWriter, tokenizer: Tokenizer) -> None:
    """Tokens, merges, special tokens and the chat template."""
    tokens = bpe.tokens(tokenizer)
    kinds = [gguf.TokenType.CONTROL if token in bpe.SPECIAL else gguf.TokenType.NORMAL for token in tokens]
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre(bpe.PRE_TOKENIZER)
    writer.add_token_list(tokens)
    writer.add_token_types(kinds)
    writer.add_token_merges(bpe.merges(tokenizer))
    writer.add_bos_token_id(tokens.index(bpe.BEGIN))
    writer.add_eos_token_id(tokens.index(bpe.END))
    writer.add_pad_token_id(tokens.index(bpe.END))
    writer.add_add_bos_token(True)
    writer.add_chat_template(bpe.TEMPLATE)
