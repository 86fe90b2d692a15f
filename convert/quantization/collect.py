"""Collecting an imatrix: run the model over a text and add up the squared inputs of every weight matrix.

llama.cpp's scheduler calls back before each node of the graph ("do you want to see this one?") and after those that
were wanted; the inputs of a matrix product are then in memory. What is collected is what llama.cpp's tools/imatrix
collects: products with weights of layers, over batches of 16 tokens or more; the output matrix is left out.
"""

from __future__ import annotations

from array import array
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from agent.engines.llama.library import llama, log
from agent.engines.llama.vocabulary import Vocabulary
from agent.errors import ArtifactError, ModelLoadError, RequestError
from convert.quantization import ggml
from convert.quantization.header import read_header
from convert.quantization.imatrix import Entry, Imatrix

CHUNK_TOKENS: Final = 512
"""The context at which llama.cpp's tools collect by default."""

_SMALLEST_BATCH_TOKENS: Final = 16
_LOGITS_BYTES: Final = 64 * 1024 * 1024
"""Logits of one batch; every token needs them, as the last layer is only computed for tokens that are asked for."""


class Collector:
    """Sums of squared inputs by weight tensor. `callback` is for a context's `cb_eval`; `fault` says why it gave up."""

    def __init__(self) -> None:
        self.fault: Exception | None = None
        self.callback = llama.ggml_backend_sched_eval_callback(self._on_node)
        self._sums: dict[str, NDArray[np.float64]] = {}
        self._counts: dict[str, NDArray[np.int64]] = {}
        self._product, self._routed = ggml.op_number(ggml.MUL_MAT), ggml.op_number(ggml.MUL_MAT_ID)

    def entries(self) -> dict[str, Entry]:
        return {
            name: Entry(sums.astype(np.float32), self._counts[name].astype(np.float32))
            for name, sums in sorted(self._sums.items())
        }

    def _on_node(self, address: int, asked: bool, _data: Any) -> bool:
        """For the scheduler: whether the node is wanted (`asked`), or whether to go on after it."""
        node = ggml.tensor_at(address)
        if node.op not in (self._product, self._routed):
            return not asked
        try:
            weight, inputs = ggml.tensor_at(node.src[0]), ggml.tensor_at(node.src[1])
            name = _weight_name(weight.name)
            if asked:
                return self._wanted(node, name, inputs)
            if node.op == self._routed:
                self._add_routed(name, weight, node)
            else:
                self._add(name, weight, node.src[1], inputs)
        except Exception as error:  # an exception cannot cross C: it is kept, and raised once llama.cpp has returned
            self.fault = self.fault or error
            return False
        return True

    def _wanted(self, node: ggml.Tensor, name: str, inputs: ggml.Tensor) -> bool:
        if inputs.type != ggml.F32 or not name.startswith("blk."):
            return False
        return bool(node.op == self._routed or inputs.ne[1] >= _SMALLEST_BATCH_TOKENS)

    def _add(self, name: str, weight: ggml.Tensor, address: int, inputs: ggml.Tensor) -> None:
        """A matrix [columns, rows, a, b] times inputs [columns, tokens, c, d]; matrix (i % a, j % b) meets (i, j)."""
        matrices = weight.ne[2] * weight.ne[3]
        values = _values(address, inputs)
        sums, counts = self._entry(name, matrices, inputs.ne[0], counted=1)
        if matrices == 1:
            sums[0] += _column_squares(values.reshape(-1, inputs.ne[0]))
        else:
            for outer in range(inputs.ne[3]):
                for inner in range(inputs.ne[2]):
                    matrix = (outer % weight.ne[3]) * weight.ne[2] + inner % weight.ne[2]
                    sums[matrix] += _column_squares(values[outer, inner])
        counts[0] += inputs.ne[1] * inputs.ne[2] * inputs.ne[3] // matrices

    def _add_routed(self, name: str, weight: ggml.Tensor, node: ggml.Tensor) -> None:
        """Experts [columns, rows, experts], inputs [columns, 1 or chosen, tokens], choices int32 [chosen, tokens]."""
        inputs, choices = ggml.tensor_at(node.src[1]), ggml.tensor_at(node.src[2])
        experts = weight.ne[2]
        values = _values(node.src[1], inputs)[0]
        chosen = _values(node.src[2], choices, np.dtype(np.int32))[0, 0]
        sums, counts = self._entry(name, experts, inputs.ne[0], counted=experts)
        if chosen.size and not 0 <= int(chosen.min()) <= int(chosen.max()) < experts:
            raise ArtifactError(f"{name}: the model chose an expert that it does not have.")
        for place in range(chosen.shape[1]):
            seen = values[:, place % inputs.ne[1]]
            for expert in np.unique(chosen[:, place]):
                rows = seen[chosen[:, place] == expert]
                sums[expert] += _column_squares(rows)
                counts[expert] += len(rows)

    def _entry(
        self, name: str, matrices: int, columns: int, *, counted: int
    ) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
        if name not in self._sums:
            self._sums[name] = np.zeros((matrices, columns))
            self._counts[name] = np.zeros(counted, np.int64)
        sums = self._sums[name]
        if sums.shape != (matrices, columns):
            raise ArtifactError(f"{name} is used with inputs of different sizes: {sums.shape}, {(matrices, columns)}.")
        return sums, self._counts[name]


def collect(
    model_path: Path, text_path: Path, *, chunks: int, threads: int, on_chunk: Callable[[int, int], None]
) -> Imatrix:
    """Run the model over a text in chunks of 512 tokens (its own context, if that is less), a last part left out.

    `chunks` 0 is all there are. Raises `ArtifactError` for a text that cannot be read or a model that cannot be run,
    `RequestError` for a text that is too short, `ModelLoadError`.
    """
    text = _read_text(text_path)
    parameters = llama.llama_model_default_params()
    model = llama.llama_model_load_from_file(str(model_path).encode(), parameters)
    if not model:
        raise ModelLoadError(f"{model_path.name} cannot be loaded: {log.reason() or 'llama.cpp refused it'}.")
    try:
        if llama.llama_model_has_encoder(model) and llama.llama_model_has_decoder(model):
            raise ArtifactError(f"{model_path.name} has an encoder and a decoder; an imatrix is for one of them alone.")
        return _run(model, model_path, text_path.name, text, chunks, threads, on_chunk)
    finally:
        llama.llama_model_free(model)


def _run(
    model: Any,
    model_path: Path,
    dataset: str,
    text: str,
    chunks: int,
    threads: int,
    on_chunk: Callable[[int, int], None],
) -> Imatrix:
    vocabulary = Vocabulary(model)
    chunk_tokens = min(CHUNK_TOKENS, llama.llama_model_n_ctx_train(model) or CHUNK_TOKENS)
    tokens = vocabulary.tokenize(text, add_special=True, parse_special=False)
    available = len(tokens) // chunk_tokens
    if available == 0:
        raise RequestError(
            f"{dataset} has {len(tokens)} tokens of {model_path.name}; at least {chunk_tokens} are needed.",
            hint="Give a text like what the model will be used for: 100 kB or more.",
        )
    count = min(available, chunks) if chunks else available
    collector = Collector()
    context, batch_tokens = _open(model, model_path, vocabulary, chunk_tokens, threads, collector)
    try:
        for index in range(count):
            chunk = tokens[index * chunk_tokens : (index + 1) * chunk_tokens]
            if vocabulary.adds_bos:
                chunk[0] = vocabulary.bos
            _decode(context, chunk, batch_tokens, model_path, collector)
            on_chunk(index + 1, count)
    finally:
        llama.llama_free(context)
    entries = collector.entries()
    for name, entry in entries.items():
        if not np.isfinite(entry.sums).all():
            raise ArtifactError(f"{model_path.name} computes values that are not finite, at {name}: it is damaged.")
    return Imatrix(entries, (dataset,), count, chunk_tokens)


def _open(
    model: Any, model_path: Path, vocabulary: Vocabulary, chunk_tokens: int, threads: int, collector: Collector
) -> tuple[Any, int]:
    """A context that reports to `collector`, and the tokens of a batch: what 64 MiB of logits have room for."""
    batch_tokens = chunk_tokens
    while _causal(model_path) and batch_tokens > 2 * _SMALLEST_BATCH_TOKENS:
        if batch_tokens * vocabulary.size * 4 <= _LOGITS_BYTES:
            break
        batch_tokens //= 2
    parameters = llama.llama_context_default_params()
    parameters.n_ctx = chunk_tokens
    parameters.n_batch = parameters.n_ubatch = batch_tokens
    parameters.n_threads = parameters.n_threads_batch = threads
    parameters.no_perf = True
    parameters.cb_eval = collector.callback
    context = llama.llama_init_from_model(model, parameters)
    if not context:
        raise ModelLoadError(f"{model_path.name} cannot be run: {log.reason() or 'llama.cpp refused it'}.")
    return context, batch_tokens


def _causal(model_path: Path) -> bool:
    """Whether a token sees only those before it; where it sees all, a chunk must be one batch."""
    header = read_header(model_path)
    return header.metadata.get(f"{header.architecture}.attention.causal") is not False


def _decode(context: Any, chunk: array[int], batch_tokens: int, model_path: Path, collector: Collector) -> None:
    memory = llama.llama_get_memory(context)
    if memory:
        llama.llama_memory_clear(memory, True)
    batch = llama.llama_batch_init(batch_tokens, 0, 1)
    try:
        for start in range(0, len(chunk), batch_tokens):
            part = chunk[start : start + batch_tokens]
            batch.n_tokens = len(part)
            for place, token in enumerate(part):
                batch.token[place] = token
                batch.pos[place] = start + place
                batch.n_seq_id[place] = 1
                batch.seq_id[place][0] = 0
                batch.logits[place] = 1
            status = llama.llama_decode(context, batch)
            if collector.fault is not None:
                raise collector.fault
            if status != 0:
                reason = log.reason() or f"llama.cpp says {status}"
                raise ModelLoadError(f"{model_path.name} cannot be run over the text: {reason}.")
    finally:
        llama.llama_batch_free(batch)


def _read_text(path: Path) -> str:
    try:
        text = path.read_text("utf-8")
    except UnicodeDecodeError as error:
        raise ArtifactError(f"{path} is not UTF-8 text: byte {error.start} is not.") from None
    except OSError as error:
        raise ArtifactError(f"{path} cannot be read: {error.strerror}.") from None
    if not text.strip():
        raise ArtifactError(f"{path} is empty.")
    return text


def _weight_name(raw: bytes) -> str:
    """`CUDA0#blk.0.attn_k.weight#0`, as the scheduler calls a copy on another device, is `blk.0.attn_k.weight`."""
    name = raw.decode("utf-8", "replace")
    return name.split("#")[1] if "#" in name else name


def _values(address: int, tensor: ggml.Tensor, kind: np.dtype[Any] | None = None) -> NDArray[Any]:
    """A tensor as an array [ne3, ne2, ne1, ne0] on its own memory, whatever its strides."""
    data = np.frombuffer(ggml.read_bytes(address, tensor), np.uint8)
    dtype = kind or np.dtype(np.float32)
    return np.ndarray(
        tuple(reversed(tensor.ne)),
        dtype,
        buffer=data.data,
        strides=tuple(int(stride) for stride in reversed(tensor.nb)),
    )


def _column_squares(rows: NDArray[np.float32]) -> NDArray[np.float64]:
    """The sum over rows [n, columns] of the squares, in double precision."""
    squares: NDArray[np.float64] = np.einsum("ij,ij->j", rows, rows, dtype=np.float64)
    return squares
