"""The shape of a Whisper checkpoint, read from its config.json and compared with its tensors."""

from __future__ import annotations

from dataclasses import dataclass

from agent.errors import ArtifactError
from convert.checkpoint import Checkpoint
from convert.config import Config

MODEL_TYPE = "whisper"
CONV_KERNEL = 3
CONV_STRIDES = (1, 2)
LAYER_NORM_EPSILON = 1e-5
"""Not in config.json: torch's default, which Whisper was trained with."""


@dataclass(frozen=True)
class WhisperShape:
    """Sizes as config.json has them; `max_source_positions` counts encoder outputs (20 ms), the other one tokens.

    `scale_embedding` is not here: transformers reads it and does not apply it, and no published Whisper sets it.
    """

    n_mels: int
    d_model: int
    vocab_size: int
    encoder_layers: int
    encoder_heads: int
    encoder_ffn: int
    decoder_layers: int
    decoder_heads: int
    decoder_ffn: int
    max_source_positions: int
    max_target_positions: int
    activation: str
    tied: bool

    @property
    def decoder_head_dim(self) -> int:
        return self.d_model // self.decoder_heads

    @property
    def encoder_head_dim(self) -> int:
        return self.d_model // self.encoder_heads

    @property
    def max_frames(self) -> int:
        """The longest window, in frames of 10 ms."""
        return self.max_source_positions * CONV_STRIDES[0] * CONV_STRIDES[1]


def read_shape(config: Config) -> WhisperShape:
    """Raises `ArtifactError` for another model, a missing field, or one that makes no sense."""
    kind = config.text("model_type")
    if kind != MODEL_TYPE:
        raise ArtifactError(
            f"config.json: model_type is {ascii(kind)[:60]}, not {MODEL_TYPE!r}.",
            hint="Give the folder or hub id of a Whisper model, such as openai/whisper-tiny.",
            param="model_type",
        )
    shape = WhisperShape(
        n_mels=config.integer("num_mel_bins"),
        d_model=config.integer("d_model"),
        vocab_size=config.integer("vocab_size"),
        encoder_layers=config.integer("encoder_layers"),
        encoder_heads=config.integer("encoder_attention_heads"),
        encoder_ffn=config.integer("encoder_ffn_dim"),
        decoder_layers=config.integer("decoder_layers"),
        decoder_heads=config.integer("decoder_attention_heads"),
        decoder_ffn=config.integer("decoder_ffn_dim"),
        max_source_positions=config.integer("max_source_positions"),
        max_target_positions=config.integer("max_target_positions"),
        activation=config.text("activation_function", "gelu"),
        tied=config.flag("tie_word_embeddings", True),
    )
    for key, heads in (
        ("encoder_attention_heads", shape.encoder_heads),
        ("decoder_attention_heads", shape.decoder_heads),
    ):
        if shape.d_model % heads:
            raise ArtifactError(
                f"config.json: {key}: {heads} heads do not divide d_model ({shape.d_model}).", param=key
            )
    return shape


class WhisperTensors:
    """Names of a checkpoint's tensors. They begin with `model.` where the output projection was saved with them."""

    def __init__(self, checkpoint: Checkpoint) -> None:
        self._prefix = "model." if any(name.startswith("model.") for name in checkpoint.names()) else ""

    def encoder(self, name: str) -> str:
        return f"{self._prefix}encoder.{name}"

    def decoder(self, name: str) -> str:
        return f"{self._prefix}decoder.{name}"

    @property
    def table(self) -> str:
        """The token embedding, [vocab_size, d_model]."""
        return self.decoder("embed_tokens.weight")

    def projection(self, shape: WhisperShape) -> str:
        """What makes logits, [vocab_size, d_model]: the embedding, unless the model unties them."""
        return self.table if shape.tied else "proj_out.weight"


def check_tensors(checkpoint: Checkpoint, shape: WhisperShape) -> None:
    """Compare every tensor that will be read with what config.json says, before anything is written.

    Raises `ArtifactError` naming the first that is missing or of another shape.
    """
    for name, expected in expected_tensors(WhisperTensors(checkpoint), shape).items():
        found = checkpoint.shape(name)
        if found != expected:
            raise ArtifactError(
                f"The tensor {name} has the shape {list(found)}, expected {list(expected)}.",
                hint="config.json and the weights are not of the same model.",
            )


def expected_tensors(tensors: WhisperTensors, shape: WhisperShape) -> dict[str, tuple[int, ...]]:
    """Name and shape of every tensor that is read."""
    d = shape.d_model
    expected: dict[str, tuple[int, ...]] = {
        tensors.encoder("conv1.weight"): (d, shape.n_mels, CONV_KERNEL),
        tensors.encoder("conv1.bias"): (d,),
        tensors.encoder("conv2.weight"): (d, d, CONV_KERNEL),
        tensors.encoder("conv2.bias"): (d,),
        tensors.encoder("embed_positions.weight"): (shape.max_source_positions, d),
        tensors.decoder("embed_positions.weight"): (shape.max_target_positions, d),
        tensors.table: (shape.vocab_size, d),
        tensors.projection(shape): (shape.vocab_size, d),
    }
    for part in (tensors.encoder, tensors.decoder):
        expected |= {part("layer_norm.weight"): (d,), part("layer_norm.bias"): (d,)}
    for layer in range(shape.encoder_layers):
        expected |= _layer(tensors.encoder(f"layers.{layer}"), ("self_attn",), d, shape.encoder_ffn)
    for layer in range(shape.decoder_layers):
        expected |= _layer(tensors.decoder(f"layers.{layer}"), ("self_attn", "encoder_attn"), d, shape.decoder_ffn)
    return expected


def _layer(prefix: str, attentions: tuple[str, ...], d: int, ffn: int) -> dict[str, tuple[int, ...]]:
    expected: dict[str, tuple[int, ...]] = {
        f"{prefix}.fc1.weight": (ffn, d),
        f"{prefix}.fc1.bias": (ffn,),
        f"{prefix}.fc2.weight": (d, ffn),
        f"{prefix}.fc2.bias": (d,),
        f"{prefix}.final_layer_norm.weight": (d,),
        f"{prefix}.final_layer_norm.bias": (d,),
    }
    for attention in attentions:
        for projection in ("q_proj", "k_proj", "v_proj", "out_proj"):
            expected[f"{prefix}.{attention}.{projection}.weight"] = (d, d)
            if projection != "k_proj":  # a bias of the keys would shift all scores alike, so Whisper has none
                expected[f"{prefix}.{attention}.{projection}.bias"] = (d,)
        expected[f"{prefix}.{attention}_layer_norm.weight"] = (d,)
        expected[f"{prefix}.{attention}_layer_norm.bias"] = (d,)
    return expected
