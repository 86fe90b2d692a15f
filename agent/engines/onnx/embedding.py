"""Texts to vectors with an ONNX graph."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Final

import numpy as np
import numpy.typing as npt
import onnxruntime

from agent.engines.onnx.batches import BatchQueue
from agent.engines.onnx.embedding_folder import read_folder
from agent.engines.onnx.pooling import normalize, pool
from agent.engines.onnx.session import SessionOptions, dtype_of, open_session, run
from agent.engines.onnx.text import TextTokenizer, Tokens
from agent.errors import EngineError, ModelLoadError, RequestError

BATCH_TOKENS: Final = 2048
"""Rows times the longest of one run: beyond it more rows are not faster, and take more memory."""
POOLED: Final = "sentence_embedding"
STATES: Final = ("last_hidden_state", "token_embeddings")
INPUTS: Final = ("input_ids", "attention_mask", "token_type_ids")

FloatArray = npt.NDArray[np.float32]


class Embedder:
    """An embedding model: an artifact of `edge-convert embed`, or a folder in the layout of onnx-community.

    The graph takes input_ids, and where it wants them attention_mask and token_type_ids. Its output is
    sentence_embedding, or last_hidden_state, which is pooled here as 1_Pooling/config.json and modules.json say. Not
    for two threads at once.
    """

    def __init__(self, folder: Path, options: SessionOptions | None = None, *, max_tokens: int | None = None) -> None:
        """`max_tokens` shortens what the model takes. Raises `ModelLoadError`."""
        about = read_folder(folder)
        self._pooling = about.pooling
        self._normalize = about.normalize
        self._prompts = about.prompts
        self._default_prompt = about.default_prompt
        limit = about.max_tokens if max_tokens is None else min(max_tokens, about.max_tokens)
        self._tokenizer = TextTokenizer(folder, limit)
        self._padding = about.padding if about.padding is not None else self._tokenizer.padding or 0
        self._session = open_session(about.graph, options)
        self._inputs = _inputs(self._session)
        self._output, self._is_pooled = _output(self._session)
        if about.unsupported and not self._is_pooled:
            raise ModelLoadError(
                f"modules.json: {ascii(about.unsupported[0])[:60]} would have to follow the graph {about.graph.name}.",
                hint="Convert the model's checkpoint with `edge-convert embed`, which puts it into the graph.",
            )
        try:
            self.dimension: int = self.vectors([[self._padding]]).shape[1]
            """Of the vectors."""
        except EngineError as error:
            raise ModelLoadError(f"{about.graph.name} cannot embed a text of one token: {error.message}") from error

    @property
    def max_tokens(self) -> int:
        """The longest text, special tokens included."""
        return self._tokenizer.max_tokens

    @property
    def vocabulary(self) -> int:
        """Token ids are below this."""
        return self._tokenizer.largest_id + 1

    def prompt(self, name: str | None = None) -> str:
        """What to put before a text of the kind `name`, such as "query"; by default what the model's makers chose.

        Raises `RequestError` for a name that the model does not have.
        """
        if name is None:
            return self._prompts.get(self._default_prompt or "", "")
        if name not in self._prompts:
            there = ", ".join(map(repr, self._prompts)) or "none"
            raise RequestError(
                f"The model has no prompt {ascii(name)[:60]}.", hint=f"It has {there[:200]}.", param="prompt_name"
            )
        return self._prompts[name]

    def tokenize(self, texts: Sequence[str], *, truncate: bool = True) -> Tokens:
        """Raises `ContextOverflowError` for a text that is too long where `truncate` is false, `RequestError`."""
        return self._tokenizer.encode(texts, truncate=truncate)

    def vectors(self, rows: Sequence[Sequence[int]]) -> FloatArray:
        """Token ids of texts -> float32 [texts, dimension], in one run. Raises `EngineError`."""
        ids = np.full((len(rows), max(1, *map(len, rows))), self._padding, np.int64)
        mask = np.zeros_like(ids)
        for index, row in enumerate(rows):
            ids[index, : len(row)] = row
            mask[index, : len(row)] = 1
        given = {"input_ids": ids, "attention_mask": mask, "token_type_ids": np.zeros_like(ids)}
        feeds = {name: given[name].astype(dtype, copy=False) for name, dtype in self._inputs.items()}
        result = run(self._session, [self._output], feeds)[0].astype(np.float32, copy=False)
        if result.ndim != (2 if self._is_pooled else 3) or len(result) != len(rows):
            raise EngineError(f"{self._output} has the shape {list(result.shape)} for {len(rows)} texts.")
        if not self._is_pooled:
            result = pool(result, mask.astype(np.float32), self._pooling)
            result = normalize(result) if self._normalize else result
        if not np.isfinite(result).all():
            raise EngineError("The model made a vector that is not finite.", hint="Take it in another precision.")
        return result

    def embed(self, texts: Sequence[str], *, truncate: bool = True, batch_tokens: int = BATCH_TOKENS) -> FloatArray:
        """float32 [texts, dimension], in the order of the texts; those of similar length are computed together.

        Raises what `tokenize` and `vectors` do.
        """
        ids = self.tokenize(texts, truncate=truncate).ids
        result = np.empty((len(ids), self.dimension), np.float32)
        waiting = BatchQueue(batch_tokens)
        waiting.add(0, [len(row) for row in ids])
        while batch := waiting.next_batch():
            places = [item.index for item in batch]
            result[places] = self.vectors([ids[place] for place in places])
        return result


def _inputs(session: onnxruntime.InferenceSession) -> dict[str, npt.DTypeLike]:
    wanted = {one.name: dtype_of(one.type) for one in session.get_inputs()}
    unknown = sorted(set(wanted) - set(INPUTS))
    if unknown or "input_ids" not in wanted:
        fault = f"wants an input {unknown[0][:40]!a}" if unknown else "has no input input_ids"
        raise ModelLoadError(f"The graph {fault}.", hint=f"A text encoder takes {', '.join(INPUTS)}.")
    return wanted


def _output(session: onnxruntime.InferenceSession) -> tuple[str, bool]:
    """The output to take, and whether it is one vector for each text."""
    names = [one.name for one in session.get_outputs()]
    for name in (POOLED, *STATES):
        if name in names:
            return name, name == POOLED
    raise ModelLoadError(
        f"The graph has no output {POOLED} or {STATES[0]}, only {', '.join(map(ascii, names))[:120]}.",
        hint="Is it a text encoder?",
    )
