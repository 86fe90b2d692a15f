"""A LoRA adapter in PEFT's layout to a GGUF file that llama.cpp applies on top of its base model."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Final

from agent.errors import ArtifactError, EdgeAgentError, RequestError
from agent.terminal import Progress
from convert.artifact import whole_file
from convert.config import Config
from convert.gguf.base import link_source
from convert.gguf.converter import run_converter
from convert.gguf.tools import Tools
from convert.source import is_hub_id, resolve

FILES: Final = ("adapter_config.json", "adapter_model.safetensors", "adapter_model.bin", "README.md")
KINDS: Final = ("F32", "F16", "BF16", "Q8_0")
"""What the converter writes adapters in."""
_CONFIGS: Final = ("*.json",)
"""Of the base model its configuration is enough."""


def read_kind(text: str) -> str:
    """One of `KINDS`, by its name in any case. Raises `RequestError` listing them."""
    if text.upper() not in KINDS:
        raise RequestError(f"An adapter cannot be written as {text!r}.", hint=f"Choose one of {', '.join(KINDS)}.")
    return text.upper()


def check_adapter(folder: Path) -> Config:
    """adapter_config.json, once it and the weights are there. Raises `ArtifactError`."""
    if not (folder / "adapter_config.json").is_file() and (folder / "config.json").is_file():
        raise ArtifactError(f"{folder.name} is a whole model, no LoRA adapter.", hint="Convert it without --lora.")
    config = Config(folder / "adapter_config.json")
    kind = config.text("peft_type", "LORA")
    if kind.upper() != "LORA":
        raise ArtifactError(
            f"adapter_config.json: peft_type: expected LORA, got {ascii(kind)[:80]}.",
            hint="llama.cpp applies LoRA adapters only.",
            param="peft_type",
        )
    config.number("lora_alpha")
    if not any((folder / name).is_file() for name in FILES[1:3]):
        raise ArtifactError(
            f"{folder} has neither {FILES[1]} nor {FILES[2]}.", hint="Take the weights from where it was published."
        )
    return config


def find_base(config: Config, base: str | None) -> Path:
    """The folder with the base model's config.json: `base`, or what the adapter names.

    Raises `RequestError` where the adapter names none, `ArtifactError` where the one it names cannot be had, and what
    `convert.source.resolve` raises for `base`.
    """
    named = base or config.values.get("base_model_name_or_path")
    if not isinstance(named, str) or not named or not (base or Path(named).is_dir() or is_hub_id(named)):
        raise RequestError(
            f"adapter_config.json names no base model that is here or on the hub ({ascii(named)[:80]}).",
            hint="Give the folder or the hub id of its base model with --base.",
        )
    try:
        return resolve(named, files=_CONFIGS)
    except EdgeAgentError as error:
        if base is not None:
            raise
        raise ArtifactError(
            f"The base model that adapter_config.json names cannot be had: {error.message}",
            hint="Give the folder or the hub id of the base model with --base.",
        ) from error


def convert_lora(
    tools: Tools,
    source: Path,
    base: Path,
    target: Path,
    kind: str,
    *,
    name: str,
    verbose: bool,
) -> int:
    """Write the adapter in `source` to the file `target`, whole or not at all. Returns its bytes.

    `kind` is one of `KINDS`; `name` goes into the file. Raises `ArtifactError` with the converter's reason.
    """
    with tempfile.TemporaryDirectory(prefix="edge-convert-") as links, whole_file(target) as made:
        staged = link_source(source, Path(links) / name, code=False)
        with Progress(f"converting {name}") as progress:
            named: list[str | Path] = ["--base", link_source(base, Path(links) / "base", code=False), "--outfile", made]
            run_converter(
                tools,
                tools.lora_script,
                [*named, "--outtype", kind.lower(), staged],
                what=name,
                scratch=Path(links),
                on_bytes=progress,
                verbose=verbose,
            )
        if not made.is_file():
            raise ArtifactError(f"llama.cpp's converter ended well, but made no file of {name}.")
    return target.stat().st_size
