"""Which files of a repository are pulled, and why: the one asked for, or the best that fits this board. Pure."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from typing import Final

from agent.errors import ArtifactError
from agent.hub.download import Wanted
from agent.hub.gguf_models import GgufModel, gguf_models, listed, pick, unambiguous
from agent.hub.onnx_models import has_onnx, onnx_model
from agent.hub.repository import RemoteFile, Repository
from agent.hub.room import Need, Room, gguf_need, known_shape
from agent.hub.source import Source
from agent.store.manifest import Manifest
from agent.store.names import suggest_name

FLUENT_TOKENS_PER_S: Final = 10.0
"""About twice as fast as people read: 250 words a minute, 1.3 tokens a word."""
BALANCED: Final = "Q4_K_M"
"""What llama.cpp and others take unless told otherwise: below it quality falls off quickly (llama.cpp, quantize)."""
LARGEST: Final = "Q8_0"
"""Above it nothing is gained that could be measured."""


@dataclass(frozen=True, kw_only=True)
class Selection:
    """`draft` is what the store will say of an ONNX model; of GGUF it says it when the file is here (None).

    `because` is why these files, "" where they were asked for; `alternatives` are others of the same repository, with
    what they need, the largest first.
    """

    name: str
    what: str
    wanted: tuple[Wanted, ...]
    need: Need
    draft: Manifest | None = None
    because: str = ""
    alternatives: tuple[tuple[str, int, Need], ...] = ()

    @property
    def bytes(self) -> int:
        return sum(one.file.bytes for one in self.wanted)


def select(
    source: Source,
    repository: Repository,
    read: Callable[[RemoteFile], bytes],
    *,
    machine: str,
    features: Collection[str],
    room: Room,
) -> Selection:
    """What `source` means in `repository`, on this board. `read` gets a small file.

    Raises `ArtifactError`: nothing there can be run, there is no such quantization, or it is not clear which is meant.
    """
    models = gguf_models(repository.files)
    if source.choice is not None or models:
        return _gguf(source, models, room)
    if has_onnx(repository.files):
        return _onnx(source, repository, read, machine, features, room)
    weights = any(file.path.endswith((".safetensors", ".bin")) for file in repository.files)
    raise ArtifactError(
        f"{repository.name} has neither a GGUF file nor an ONNX graph.",
        hint=f"It holds a checkpoint: look for a repository called {source.name}-GGUF, or convert it: "
        f"edge-convert gguf {repository.name}"
        if weights
        else "Give a repository that holds a model.",
    )


def best(models: Sequence[GgufModel], needs: Sequence[Need], room: Room) -> tuple[int, str]:
    """The index of the model to take where nobody said which, and why. `models` are sorted by size.

    Of those that fit memory and disk, up to Q8_0: the largest that is fluent here; where none is, or that is not
    known, Q4_K_M or the next smaller one; else the smallest. Where none fits, the smallest of all.
    """
    limit = max((model.bytes for model in models if model.quantization == LARGEST), default=None)
    usual = [at for at, model in enumerate(models) if limit is None or model.bytes <= limit]
    fitting = [at for at in usual if needs[at].fits and models[at].bytes <= room.disk_bytes]
    if not fitting:
        return 0, "the smallest there is"
    fluent = [at for at in fitting if (needs[at].tokens_per_s or 0.0) >= FLUENT_TOKENS_PER_S]
    if fluent:
        return fluent[
            -1
        ], f"the largest that fits and is fluent here (about {needs[fluent[-1]].tokens_per_s:.0f} tokens/s)"
    balanced = [model.bytes for model in models if model.quantization == BALANCED]
    small = [at for at in fitting if not balanced or models[at].bytes <= max(balanced)]
    if not small:
        return fitting[0], "the smallest that fits"
    if models[small[-1]].quantization == BALANCED:
        return small[-1], "it fits, and is the usual balance of size and quality"
    return small[-1], "the largest that fits" + (f" below {BALANCED}" if balanced else "")


def _gguf(source: Source, models: Sequence[GgufModel], room: Room) -> Selection:
    shape = known_shape(source.name)
    because = ""
    if source.choice is not None:
        chosen = pick(models, source.choice, source.repository)
    else:
        whole = unambiguous(models, source.repository)
        if not whole:
            raise ArtifactError(
                f"No GGUF model in {source.repository} is whole.", hint=f"There are parts of {listed(models)}."
            )
        at, because = best(whole, [gguf_need(shape, model.bytes, room) for model in whole], room)
        chosen = whole[at]
        because = "" if len(whole) == 1 else f"{because}; there are {listed(whole)}"
    others = [model for model in reversed(models) if len(model.files) == model.parts and not model.outdated]
    return Selection(
        name=suggest_name(chosen.stem),
        what=chosen.label,
        wanted=tuple(
            Wanted(file=file, path=path) for file, path in zip(chosen.files, chosen.local_paths(), strict=True)
        ),
        need=gguf_need(shape, chosen.bytes, room),
        because=because,
        alternatives=tuple((model.label, model.bytes, gguf_need(shape, model.bytes, room)) for model in others),
    )


def _onnx(
    source: Source,
    repository: Repository,
    read: Callable[[RemoteFile], bytes],
    machine: str,
    features: Collection[str],
    room: Room,
) -> Selection:
    model = onnx_model(source.name, repository.files, read, machine=machine, features=features, room=room)
    graphs = [file.path for file, path in model.files if path.endswith(".onnx")]
    return Selection(
        name=suggest_name(source.name),
        what=model.draft.quantization,
        wanted=tuple(Wanted(file=file, path=path) for file, path in model.files),
        need=model.need,
        draft=model.draft,
        because=f"{' and '.join(graphs)}",
    )
