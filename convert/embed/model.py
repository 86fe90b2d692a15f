"""An embedding checkpoint with all its parts read and checked, but for the weights."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from agent.engines.onnx.text import FILE as TOKENIZER_FILE
from agent.engines.onnx.text import TextTokenizer
from agent.errors import ArtifactError, ModelLoadError
from convert.checkpoint import Checkpoint, open_checkpoint
from convert.config import Config
from convert.embed.encoder import Shape
from convert.embed.graph import build_graph, read_shape
from convert.embed.pooling import Head, read_head
from convert.onnx.graph import Graph
from convert.onnx.layers import Precision

LIMITS_FILE: Final = "sentence_bert_config.json"
PROMPTS_FILE: Final = "config_sentence_transformers.json"
PROMPT_LIMIT_CHARACTERS: Final = 4096
PROMPTS_LIMIT: Final = 256


@dataclass(frozen=True)
class EmbeddingModel:
    """`max_tokens` is the longest text; `prompts` are what to put before a text, by the kind of text."""

    checkpoint: Checkpoint
    dense: dict[str, Checkpoint]
    shape: Shape
    head: Head
    max_tokens: int
    prompts: dict[str, str]
    default_prompt: str | None

    @property
    def dimension(self) -> int:
        return self.head.dimension(self.shape.width)

    def graph(self, precision: Precision) -> Graph:
        """Raises `ArtifactError` where a tensor is missing."""
        return build_graph(self.checkpoint, self.shape, self.head, self.dense, precision)

    def parameters(self) -> int:
        """How many numbers the graph's tensors hold: not those of a head that is left out."""
        return self.graph("fp32").weight_values


@contextmanager
def open_model(folder: Path) -> Iterator[EmbeddingModel]:
    """Raises `ArtifactError` for anything that cannot be converted."""
    with ExitStack() as stack:
        checkpoint = stack.enter_context(open_checkpoint(folder))
        shape = read_shape(checkpoint.config)
        head = read_head(folder, shape)
        dense = {module.folder: stack.enter_context(open_checkpoint(folder / module.folder)) for module in head.dense}
        prompts, default = _prompts(folder)
        max_tokens = _max_tokens(folder, shape)
        _check_tokenizer(folder, shape, max_tokens)
        yield EmbeddingModel(checkpoint, dense, shape, head, max_tokens, prompts, default)


def _max_tokens(folder: Path, shape: Shape) -> int:
    """What sentence-transformers was told; else what the tokenizer was; never more than there are positions."""
    limits = [shape.positions]
    for file, key in ((LIMITS_FILE, "max_seq_length"), ("tokenizer_config.json", "model_max_length")):
        if not (folder / file).is_file():
            continue
        config = Config(folder / file)
        value = config.values.get(key)
        # transformers writes 1e30 for a tokenizer without a limit.
        if value is None or (isinstance(value, int | float) and value >= 1e9):
            continue
        limits.append(config.integer(key))
        break
    return min(limits)


def _check_tokenizer(folder: Path, shape: Shape, max_tokens: int) -> None:
    try:
        tokenizer = TextTokenizer(folder, max_tokens)
    except ModelLoadError as error:
        raise ArtifactError(error.message, hint=error.hint) from None
    if tokenizer.largest_id >= shape.vocabulary:
        raise ArtifactError(
            f"{TOKENIZER_FILE} has a token {tokenizer.largest_id}, but the embedding has {shape.vocabulary} rows.",
            hint="The tokenizer and the weights are not of the same model.",
        )
    limits = Config(folder / LIMITS_FILE) if (folder / LIMITS_FILE).is_file() else None
    if limits is not None and limits.flag("do_lower_case", False):
        upper, lower = tokenizer.encode(["TEXT", "text"]).ids
        if upper != lower:
            raise ArtifactError(
                f"{LIMITS_FILE}: do_lower_case is true, but {TOKENIZER_FILE} does not lower the case.",
                hint="Add a Lowercase normalizer to tokenizer.json.",
                param="do_lower_case",
            )


def _prompts(folder: Path) -> tuple[dict[str, str], str | None]:
    if not (folder / PROMPTS_FILE).is_file():
        return {}, None
    config = Config(folder / PROMPTS_FILE)
    prompts: Any = config.values.get("prompts") or {}
    if not isinstance(prompts, dict) or len(prompts) > PROMPTS_LIMIT:
        raise ArtifactError(f"{PROMPTS_FILE}: prompts: expected an object of at most {PROMPTS_LIMIT} texts.")
    for name, text in prompts.items():
        if not isinstance(text, str) or len(text) > PROMPT_LIMIT_CHARACTERS:
            raise ArtifactError(
                f"{PROMPTS_FILE}: the prompt {ascii(name)[:60]} is not a text of {PROMPT_LIMIT_CHARACTERS} characters "
                "at most.",
                param="prompts",
            )
    default = config.values.get("default_prompt_name")
    if default is not None and default not in prompts:
        raise ArtifactError(
            f"{PROMPTS_FILE}: default_prompt_name {ascii(default)[:60]} is not among the prompts.",
            param="default_prompt_name",
        )
    return dict(sorted(prompts.items())), default


def activation_bytes(shape: Shape, tokens: int) -> int:
    """float32 of one text of `tokens`: the residual, Q, K, V and the feed-forward layer, and the attention's scores."""
    widths = 4 * shape.width + 2 * shape.feed_forward
    return 4 * (tokens * widths + 2 * shape.heads * tokens * tokens)
