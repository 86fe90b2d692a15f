"""The Llama of starter-chat in PyTorch, with its tensors as llama.cpp wants them: rotary pairs side by side."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import torch
from torch import Tensor, nn
from torch.nn import functional

ROPE_BASE: Final = 10_000.0
NORM_EPSILON: Final = 1e-5


@dataclass(frozen=True)
class Shape:
    """`context` is in tokens. `width` is divided by `heads`; `kv_heads` divides `heads`."""

    vocabulary: int
    width: int = 192
    layers: int = 5
    heads: int = 6
    kv_heads: int = 2
    feed_forward: int = 512
    context: int = 512

    @property
    def head(self) -> int:
        return self.width // self.heads


def rotary(shape: Shape) -> Tensor:
    """Complex rotations [context, head / 2]: pair i of position p turns by p * base^(-2i / head)."""
    pairs = torch.arange(0, shape.head, 2) / shape.head
    angles = torch.outer(torch.arange(shape.context), ROPE_BASE**-pairs)
    return torch.polar(torch.ones_like(angles), angles)


def _rotate(x: Tensor, turns: Tensor) -> Tensor:
    """`x` [batch, heads, tokens, head] with neighbors as pairs."""
    pairs = torch.view_as_complex(x.float().unflatten(-1, (-1, 2)))
    return torch.view_as_real(pairs * turns).flatten(-2).to(x.dtype)


class Attention(nn.Module):
    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.shape = shape
        self.q = nn.Linear(shape.width, shape.width, bias=False)
        self.k = nn.Linear(shape.width, shape.kv_heads * shape.head, bias=False)
        self.v = nn.Linear(shape.width, shape.kv_heads * shape.head, bias=False)
        self.output = nn.Linear(shape.width, shape.width, bias=False)

    def forward(self, x: Tensor, turns: Tensor) -> Tensor:
        split = (-1, self.shape.head)
        q = _rotate(self.q(x).unflatten(-1, split).transpose(1, 2), turns)
        k = _rotate(self.k(x).unflatten(-1, split).transpose(1, 2), turns)
        v = self.v(x).unflatten(-1, split).transpose(1, 2)
        shared = self.shape.heads // self.shape.kv_heads
        k, v = k.repeat_interleave(shared, dim=1), v.repeat_interleave(shared, dim=1)
        seen = functional.scaled_dot_product_attention(q, k, v, is_causal=True)
        mixed: Tensor = self.output(seen.transpose(1, 2).flatten(-2))
        return mixed


class Layer(nn.Module):
    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.attention_norm = nn.RMSNorm(shape.width, eps=NORM_EPSILON)
        self.attention = Attention(shape)
        self.feed_forward_norm = nn.RMSNorm(shape.width, eps=NORM_EPSILON)
        self.gate = nn.Linear(shape.width, shape.feed_forward, bias=False)
        self.up = nn.Linear(shape.width, shape.feed_forward, bias=False)
        self.down = nn.Linear(shape.feed_forward, shape.width, bias=False)

    def forward(self, x: Tensor, turns: Tensor) -> Tensor:
        x = x + self.attention(self.attention_norm(x), turns)
        y = self.feed_forward_norm(x)
        shown: Tensor = x + self.down(functional.silu(self.gate(y)) * self.up(y))
        return shown


class Llama(nn.Module):
    """Tokens [batch, tokens] to logits [batch, tokens, vocabulary]; the embedding is the output matrix too."""

    turns: Tensor

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.shape = shape
        self.embedding = nn.Embedding(shape.vocabulary, shape.width)
        self.layers = nn.ModuleList(Layer(shape) for _ in range(shape.layers))
        self.norm = nn.RMSNorm(shape.width, eps=NORM_EPSILON)
        self.register_buffer("turns", rotary(shape), persistent=False)
        for name, parameter in self.named_parameters():
            if parameter.dim() == 2:
                deep = name.endswith(("output.weight", "down.weight"))
                nn.init.normal_(parameter, std=0.02 / (2 * shape.layers) ** 0.5 if deep else 0.02)

    def forward(self, tokens: Tensor) -> Tensor:
        turns = self.turns[: tokens.shape[1]]
        x: Tensor = self.embedding(tokens)
        for layer in self.layers:
            x = layer(x, turns)
        return functional.linear(self.norm(x), self.embedding.weight)

    def tensors(self) -> dict[str, Tensor]:
        """Float32 tensors under llama.cpp's names."""
        found = {"token_embd.weight": self.embedding.weight, "output_norm.weight": self.norm.weight}
        for index, layer in enumerate(self.layers):
            assert isinstance(layer, Layer)
            named = {
                "attn_norm": layer.attention_norm,
                "attn_q": layer.attention.q,
                "attn_k": layer.attention.k,
                "attn_v": layer.attention.v,
                "attn_output": layer.attention.output,
                "ffn_norm": layer.feed_forward_norm,
                "ffn_gate": layer.gate,
                "ffn_up": layer.up,
                "ffn_down": layer.down,
            }
            found |= {f"blk.{index}.{name}.weight": module.weight for name, module in named.items()}
        return {name: tensor.detach().float() for name, tensor in found.items()}

    @property
    def parameter_count(self) -> int:
        return sum(parameter.numel() for parameter in self.parameters())
