"""A Hugging Face checkpoint to the unquantized GGUF that a report starts from. Needs torch, as `edge-convert gguf`."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from convert.gguf.base import convert_checkpoint
from convert.gguf.check import WEIGHTS, Facts, check_config, check_weights
from convert.gguf.tools import Tools, find_tools, installed_version, require_packages
from convert.source import EVERYTHING_BUT_WEIGHTS, is_hub_id, resolve, source_name


@dataclass(frozen=True)
class Checkpoint:
    """A checkpoint that llama.cpp's converter will take."""

    name: str
    folder: Path
    tools: Tools
    facts: Facts

    @property
    def needed_bytes(self) -> int:
        """What the GGUF takes on the disk."""
        return self.facts.weights_bytes

    def convert(self, scratch: Path, say: Callable[[str], None]) -> Path:
        """The GGUF, in the type that most of the weights are stored in. Raises `ArtifactError`."""
        say(f"{self.name}: converting to {self.facts.floats}")
        place = scratch / "unquantized"
        place.mkdir()
        return convert_checkpoint(
            self.tools, self.folder, self.facts.floats, place, name=self.name, trust_code=False, verbose=False
        )


def find_checkpoint(source: str) -> Checkpoint:
    """The folder `source`, or what the hub has under that id.

    Raises what `resolve`, `find_tools`, `check_config` and `check_weights` do, and where torch is not installed.
    """
    require_packages()
    tools = find_tools()
    folder = resolve(source, files=("config.json", "adapter_config.json"))
    architecture = check_config(folder, tools, installed_version())
    folder = resolve(source, files=(*EVERYTHING_BUT_WEIGHTS, WEIGHTS[0]))
    if is_hub_id(source) and not any(folder.glob(WEIGHTS[0])):
        folder = resolve(source, files=(*EVERYTHING_BUT_WEIGHTS, WEIGHTS[1]))
    return Checkpoint(source_name(source), folder, tools, check_weights(folder, architecture))
