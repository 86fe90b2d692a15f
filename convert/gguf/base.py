"""A checkpoint to a GGUF file that loses nothing: what every quantization starts from, and is measured against."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from agent.engines.llama.library import start_backend
from agent.engines.llama.probe import probe
from agent.errors import ArtifactError, ModelLoadError
from agent.store.probe_report import ProbeReport
from agent.terminal import Progress
from convert.gguf.check import Float
from convert.gguf.converter import run_converter
from convert.gguf.tools import Tools

MODEL: Final = "model.gguf"


def convert_checkpoint(
    tools: Tools, source: Path, kind: Float, folder: Path, *, name: str, trust_code: bool, verbose: bool
) -> Path:
    """`folder`/model.gguf, in `kind` but for the small tensors that llama.cpp keeps in F32.

    `name` is what the model is called: it goes into the file. Programs that the checkpoint brings are run only with
    `trust_code`. Raises `ArtifactError` with the converter's reason, and where llama.cpp cannot open what came out.
    """
    staged = link_source(source, folder / "source" / name, code=trust_code)
    target = folder / MODEL
    with Progress(f"converting {name}") as progress:
        run_converter(
            tools,
            tools.checkpoint_script,
            [staged, "--outtype", kind.lower(), "--outfile", target],
            what=name,
            scratch=staged.parent,
            on_bytes=progress,
            verbose=verbose,
        )
    if not target.is_file():
        raise ArtifactError(f"llama.cpp's converter ended well, but made no file of {name}.")
    return target


def link_source(source: Path, target: Path, *, code: bool) -> Path:
    """`target` becomes a folder of links to the files of `source`, without its programs unless `code`.

    The converter asks transformers to trust what it finds, and calls the model as the folder is called, which in the
    hub's cache is a commit.
    """
    target.mkdir(parents=True)
    for path in sorted(source.iterdir()):
        if not path.name.startswith(".") and (code or path.suffix != ".py"):
            (target / path.name).symlink_to(path.resolve())
    return target


def probe_made(path: Path, name: str) -> ProbeReport:
    """What the runtime will see in a file made here. Raises `ArtifactError` where llama.cpp cannot open it."""
    start_backend()
    try:
        return probe(path)
    except ModelLoadError as error:
        raise ArtifactError(
            f"What came out of {name} cannot be loaded: {error.message}",
            hint="config.json and the weights are probably not of the same model.",
        ) from error
