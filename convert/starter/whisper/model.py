"""The network: a Whisper of 3.9 million parameters, and the features it hears."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt
import torch
from tokenizers import Tokenizer
from torch import Tensor, nn
from torch.nn import functional
from transformers import WhisperConfig, WhisperForConditionalGeneration

from agent.engines.onnx.whisper.mel_filters import FFT_SAMPLES, mel_filters
from convert.starter.whisper.tokens import END, SPACE, START

MELS: Final = 80
HOP_SAMPLES: Final = 160
LETTERS: Final = " abcdefghijklmnopqrstuvwxyz"
START_SCALE: Final = 0.06
"""Of the first weights. With the library's 0.02 the sinusoids that stand for positions drown the sound, and the decoder
learns the language without listening."""

WARPS: Final = tuple(step / 50 for step in range(42, 60))
"""Of the frequencies: vocal tract length perturbation (Jaitly and Hinton, 2013), which makes new speakers of a few."""


@dataclass(frozen=True, kw_only=True)
class Shape:
    width: int = 192
    encoder_layers: int = 4
    decoder_layers: int = 2
    heads: int = 3


class Recognizer(nn.Module):
    """`whisper` is what ships. `letters` is a second output of the encoder for the training alone: its CTC loss makes
    the encoder find out early where in time which sound is.
    """

    def __init__(self, whisper: WhisperForConditionalGeneration) -> None:
        super().__init__()
        self.whisper = whisper
        self.letters = nn.Linear(whisper.config.d_model, len(LETTERS) + 1)
        self.register_buffer("filters", torch.from_numpy(mel_filters(MELS)), persistent=False)
        self.register_buffer("warped", _warped(mel_filters(MELS)), persistent=False)
        self.register_buffer("window", torch.hann_window(FFT_SAMPLES), persistent=False)

    @classmethod
    def new(cls, tokenizer: Tokenizer, shape: Shape) -> Recognizer:
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
        nn.init.normal_(decoder.embed_tokens.weight, std=0.04)
        nn.init.normal_(decoder.embed_positions.weight, std=0.02)
        return cls(whisper)

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
            made = layer(hidden, None)
            hidden = made[0] if isinstance(made, tuple) else made
        return encoder.layer_norm(hidden)

    def forward(self, mel: Tensor, tokens: Tensor) -> tuple[Tensor, Tensor]:
        """[B, 80, frames], int64 [B, n] -> logits [B, n, vocabulary] of what follows each token, and log
        probabilities of letters [B, frames / 2, 28], the first of which is the blank.
        """
        heard = self.encode(mel)
        states = self.whisper.model.decoder(input_ids=tokens, encoder_hidden_states=heard, use_cache=False)[0]
        return self.whisper.proj_out(states), functional.log_softmax(self.letters(heard).float(), -1)


def _warped(filters: npt.NDArray[np.float32]) -> Tensor:
    """[80, bins] -> [warps, 80, bins]: filters that hear at `bin` what is at `bin * warp`."""
    bins = np.arange(filters.shape[1])
    made = []
    for warp in WARPS:
        source = np.minimum(bins * warp, bins[-1])
        near = np.maximum(0, 1 - np.abs(source[:, None] - bins[None])).astype(np.float32)
        made.append(filters @ near)
    return torch.from_numpy(np.stack(made))
