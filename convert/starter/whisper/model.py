"""The network: a Whisper of 3.9 million parameters, and the features it hears."""

from __future__ import annotations

import math
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt
import torch
from tokenizers import Tokenizer
from torch import Tensor, nn
from torch.nn import functional
from transformers import WhisperConfig, WhisperForConditionalGeneration
from transformers.models.whisper.modeling_whisper import sinusoids

from agent.engines.onnx.whisper.mel_filters import FFT_SAMPLES, mel_filters
from convert.starter.whisper.tokens import END, FIRST_TIMESTAMP, SPACE, START

MELS: Final = 80
HOP_SAMPLES: Final = 160
START_SCALE: Final = 0.06
"""Of the first weights. With the library's 0.02 the sinusoids that stand for positions drown the sound, and the decoder
learns the language without listening."""

EMBEDDING_STD: Final = 0.04

WARPS: Final = tuple(step / 50 for step in range(42, 60))
"""Of the frequencies: vocal tract length perturbation (Jaitly and Hinton, 2013), which makes new speakers of a few."""


@dataclass(frozen=True, kw_only=True)
class Shape:
    width: int = 192
    encoder_layers: int = 4
    decoder_layers: int = 2
    heads: int = 3


@dataclass(frozen=True)
class Outputs:
    """Logits: `text` [B, n, vocabulary] of what follows each token, `phones` [B, positions, phones], and `listening`,
    for each layer of the decoder, [B, n, positions] of where the first head of its cross-attention listens (of which
    the encoder does not learn)."""

    text: Tensor
    phones: Tensor
    listening: list[Tensor]


class Recognizer(nn.Module):
    """`whisper` is what ships. `phones` is a second output of the encoder for the training alone: which of so many is
    said when.
    """

    def __init__(self, whisper: WhisperForConditionalGeneration, phones: int) -> None:
        super().__init__()
        self.whisper = whisper
        self.phones = nn.Linear(whisper.config.d_model, phones)
        self.register_buffer("filters", torch.from_numpy(mel_filters(MELS)), persistent=False)
        self.register_buffer("warped", _warped(mel_filters(MELS)), persistent=False)
        self.register_buffer("window", torch.hann_window(FFT_SAMPLES), persistent=False)
        for layer in whisper.model.decoder.layers:
            layer.encoder_attn.register_forward_pre_hook(_listen)

    @classmethod
    def new(cls, tokenizer: Tokenizer, shape: Shape, phones: int) -> Recognizer:
        """Weights are drawn from torch's generator."""
        end = tokenizer.token_to_id(END)
        whisper = WhisperForConditionalGeneration(
            WhisperConfig(
                vocab_size=tokenizer.get_vocab_size(),
                d_model=shape.width,
                encoder_layers=shape.encoder_layers,
                decoder_layers=shape.decoder_layers,
                encoder_attention_heads=shape.heads,
                decoder_attention_heads=shape.heads,
                encoder_ffn_dim=4 * shape.width,
                decoder_ffn_dim=4 * shape.width,
                num_mel_bins=MELS,
                init_std=START_SCALE,
                pad_token_id=end,
                bos_token_id=end,
                eos_token_id=end,
                decoder_start_token_id=tokenizer.token_to_id(START),
                suppress_tokens=None,
                # The end may come first: a window without words.
                begin_suppress_tokens=[tokenizer.token_to_id(SPACE)],
            )
        )
        encoder, decoder = whisper.model.encoder, whisper.model.decoder
        for convolution in (encoder.conv1, encoder.conv2):
            nn.init.kaiming_normal_(convolution.weight, nonlinearity="relu")
            nn.init.zeros_(convolution.bias)
        nn.init.normal_(decoder.embed_tokens.weight, std=EMBEDDING_STD)
        with torch.no_grad():
            # A timestamp begins as the position that it names, so that what is learned of one holds for its neighbors.
            times = decoder.embed_tokens.weight[tokenizer.token_to_id(FIRST_TIMESTAMP) :]
            times.copy_(sinusoids(*times.shape) * (EMBEDDING_STD * math.sqrt(2)))
        nn.init.normal_(decoder.embed_positions.weight, std=0.02)
        return cls(whisper, phones)

    def log_mel(self, audio: Tensor, warps: Tensor | None = None) -> Tensor:
        """float32 [B, samples] -> [B, 80, frames of 10 ms], scaled as openai/whisper's audio.py does. `warps`, int64
        [B], are places in `WARPS`: each window as a vocal tract of another length would have it.
        """
        spectrum = torch.stft(audio, FFT_SAMPLES, HOP_SAMPLES, window=self.window, return_complex=True)
        filters = self.filters if warps is None else self.warped[warps]
        mel = torch.clamp(filters @ spectrum[..., :-1].abs().square(), min=1e-10).log10()
        return (torch.maximum(mel, mel.amax((1, 2), keepdim=True) - 8) + 4) / 4

    def encode(self, mel: Tensor) -> Tensor:
        """[B, 80, frames] -> [B, frames / 2, width]. transformers' own takes 30 s alone; this one any window."""
        encoder = self.whisper.model.encoder
        stem = functional.gelu(encoder.conv2(functional.gelu(encoder.conv1(mel))))
        hidden = stem.transpose(1, 2) + encoder.embed_positions.weight[: stem.shape[2]]
        for layer in encoder.layers:
            hidden = _encoded(layer, hidden)
        return encoder.layer_norm(hidden)

    def forward(self, mel: Tensor, tokens: Tensor) -> Outputs:
        """[B, 80, frames], int64 [B, n] -> see `Outputs`."""
        heard = self.encode(mel)
        decoder = self.whisper.model.decoder
        listening: list[Tensor] = []
        asked = _ASKED.set((heard.detach(), listening))
        try:
            states = decoder(input_ids=tokens, encoder_hidden_states=heard, use_cache=False)[0]
        finally:
            _ASKED.reset(asked)
        return Outputs(self.whisper.proj_out(states), self.phones(heard), listening)


def _encoded(layer: nn.Module, hidden: Tensor) -> Tensor:
    """[B, n, width] -> the same shape. What the layer does itself; but in bfloat16 torch's fused attention, which it
    would use, takes twice as long on a CPU for windows this short (docs/performance.md)."""
    if not torch.is_autocast_enabled("cpu"):
        return layer(hidden, None)
    attention = layer.self_attn
    normed = layer.self_attn_layer_norm(hidden)
    heads = (normed.shape[0], normed.shape[1], attention.num_heads, attention.head_dim)
    queries = (attention.q_proj(normed) * attention.scaling).view(heads).transpose(1, 2)
    keys, values = (one(normed).view(heads).transpose(1, 2) for one in (attention.k_proj, attention.v_proj))
    with torch.autocast("cpu", enabled=False):  # the softmax stays in the type of its input, too
        mixed = (queries @ keys.transpose(2, 3)).softmax(3) @ values
    hidden = hidden + attention.out_proj(mixed.transpose(1, 2).flatten(2))
    widened = functional.gelu(layer.fc1(layer.final_layer_norm(hidden)))
    return hidden + layer.fc2(widened)


_ASKED: Final[ContextVar[tuple[Tensor, list[Tensor]] | None]] = ContextVar("asked", default=None)
"""What `forward` wants of the layers in this thread: what is heard, and where the answers go."""


def _listen(attention: nn.Module, given: tuple[Tensor, ...]) -> None:
    if asked := _ASKED.get():
        heard, listening = asked
        listening.append(_first_head(attention, given[0], heard))


def _first_head(attention: nn.Module, states: Tensor, heard: Tensor) -> Tensor:
    """[B, n, width], [B, positions, width] -> logits [B, n, positions] of the first head's attention."""
    size = attention.head_dim
    queries = functional.linear(states, attention.q_proj.weight[:size], attention.q_proj.bias[:size])
    keys = functional.linear(heard, attention.k_proj.weight[:size])
    return queries * attention.scaling @ keys.transpose(1, 2)


def _warped(filters: npt.NDArray[np.float32]) -> Tensor:
    """[80, bins] -> [warps, 80, bins]: filters that hear at `bin` what is at `bin * warp`."""
    bins = np.arange(filters.shape[1])
    made = []
    for warp in WARPS:
        source = np.minimum(bins * warp, bins[-1])
        near = np.maximum(0, 1 - np.abs(source[:, None] - bins[None])).astype(np.float32)
        made.append(filters @ near)
    return torch.from_numpy(np.stack(made))
