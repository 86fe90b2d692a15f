"""The table of well-known models, and which of them fit this board. Pure, but for reading `models.toml` beside it."""

from __future__ import annotations

import tomllib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Final

import msgspec

from agent.errors import StoreError
from agent.hardware.fit import SHAPES
from agent.hardware.sections import Recommend
from agent.hub.onnx_models import onnx_model
from agent.hub.repository import RemoteFile
from agent.hub.room import Need, Room, gguf_need
from agent.store.manifest import Task

TABLE: Final = Path(__file__).with_name("models.toml")
TASKS: Final[tuple[Task, ...]] = ("generate", "embed", "transcribe")
_GRAPHS: Final = {
    "embed": ("onnx/model_quantized.onnx",),
    "transcribe": ("onnx/decoder_model_merged_quantized.onnx", "onnx/encoder_model_quantized.onnx"),
}
_Count = Annotated[int, msgspec.Meta(gt=0)]


class KnownModel(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A row of `models.toml`, which says what each key is."""

    name: str
    task: Task
    source: str
    bytes: _Count
    license: str
    shape: str = ""
    graph_bytes: int = 0
    config: dict[str, Any] = {}


@dataclass(frozen=True, kw_only=True)
class Suggestion:
    """A known model on this board. `reason` is why it does not fit, "" where it does."""

    model: KnownModel
    need: Need
    recommended: bool
    reason: str

    @property
    def fits(self) -> bool:
        return not self.reason

    @property
    def command(self) -> str:
        return f"edge-agent models pull {self.model.source}"


def known_models(path: Path = TABLE) -> list[KnownModel]:
    """The table. Raises `StoreError` where it is broken: that is an installation that is."""
    try:
        return msgspec.convert(tomllib.loads(path.read_text("utf-8"))["model"], list[KnownModel])
    except (OSError, ValueError, KeyError, msgspec.ValidationError) as error:
        raise StoreError(f"{path} cannot be read: {error}.", hint="Install edge-agent again.") from None


def suggestions(models: Sequence[KnownModel], recommend: Recommend, room: Room) -> list[Suggestion]:
    """Each model with what it needs here: by task; those that fit first, of these the profile's own, in its order."""
    found = []
    for model in models:
        need = need_of_known(model, room)
        wanted: tuple[str, ...] = getattr(recommend, model.task)
        reason = shortage(need, model.bytes, room)
        found.append(Suggestion(model=model, need=need, recommended=model.name in wanted, reason=reason))

    def order(one: Suggestion) -> tuple[int, bool, int, int]:
        wanted: tuple[str, ...] = getattr(recommend, one.model.task)
        place = wanted.index(one.model.name) if one.recommended else len(wanted)
        return TASKS.index(one.model.task), not one.fits, place, one.model.bytes

    return sorted(found, key=order)


def need_of_known(model: KnownModel, room: Room) -> Need:
    """What a row of the table takes. Raises `StoreError` for a row that makes no sense."""
    if model.task == "generate":
        shape = next((shape for shape in SHAPES if shape.name == model.shape), None)
        return gguf_need(shape, model.bytes, room)
    graphs = _GRAPHS[model.task]
    sizes = [model.graph_bytes - len(graphs) + 1, *([1] * (len(graphs) - 1))]
    config = msgspec.json.encode(model.config)
    files = [RemoteFile(path=path, bytes=size) for path, size in zip(graphs, sizes, strict=True)]
    files.append(RemoteFile(path="config.json", bytes=len(config)))
    return onnx_model(model.name, files, lambda _: config, machine="", features=(), room=room).need


def shortage(need: Need, disk_bytes: int, room: Room) -> str:
    """What there is too little of, in words; "" where all is well. `disk_bytes` are still to be written."""
    least = "at least " if not need.exact else ""
    if not need.fits:
        wanted, there = gigabytes(need.least_bytes), gigabytes(room.memory_bytes)
        return f"it needs {least}{wanted} of memory, and the board has {there} for models"
    if disk_bytes > room.disk_bytes:
        return f"it needs {gigabytes(disk_bytes)} of disk, and {gigabytes(room.disk_bytes)} can be filled"
    return ""


def largest_that_fits(models: Sequence[KnownModel], task: Task, room: Room) -> Suggestion | None:
    """The largest known model of a task that fits, for whoever asked for one that does not."""
    none = Recommend(generate=(), embed=(), transcribe=(), decode_gb_per_s=room.decode_gb_per_s)
    fitting = [one for one in suggestions(models, none, room) if one.fits and one.model.task == task]
    return max(fitting, key=lambda one: one.model.bytes, default=None)


def gigabytes(number: int) -> str:
    """`1.1 GB`, `640 MB`: powers of ten, as downloads are sold."""
    return f"{number / 1e9:.1f} GB" if number >= 1e9 else f"{max(number, 0) / 1e6:.0f} MB"
