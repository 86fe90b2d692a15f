"""A GGUF model at fewer bits: a file, or an artifact folder that says what it lost."""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Final

from agent.errors import ArtifactError, RequestError
from agent.store.names import check_name, check_version, suggest_name
from agent.terminal import Progress, print_json
from convert.commands.order import say
from convert.quality.gates import add_accept_option

if TYPE_CHECKING:
    from convert.quantization.choose import Choice
    from convert.quantization.header import Header
    from convert.quantization.making import Made
    from convert.quantization.quantize import Plan
    from convert.quantization.recipe import Recipe

NAME: Final = "quantize"
HELP: Final = "a GGUF model at fewer bits"

_DEFAULT: Final = "Q4_K_M"
_UNQUANTIZED: Final = ("-f32", "-f16", "-bf16", ".f32", ".f16", ".bf16")
_FEW_CHUNKS: Final = 8


def configure(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("source", type=Path, metavar="IN.gguf", help="F32, F16 or BF16; of a split model any part")
    parser.add_argument(
        "target", type=Path, nargs="?", metavar="OUT", help="OUT.gguf, or a folder: an artifact; default: beside IN"
    )
    level = parser.add_mutually_exclusive_group()
    level.add_argument("--quant", metavar="NAME", help=f"{_DEFAULT} (the default), Q8_0, IQ3_XXS, ..., COPY")
    level.add_argument("--for", dest="board", metavar="PROFILE", help="the best that fits that board: pi-5, ...")
    parser.add_argument("--memory-mb", type=int, metavar="N", help="the board's memory; default: of the smallest")
    matrix = parser.add_argument_group("importance matrix")
    matrix.add_argument("--imatrix", type=Path, metavar="FILE", help="an imatrix (.gguf, .dat), or a text to run")
    matrix.add_argument("--save-imatrix", type=Path, metavar="FILE.gguf", help="keep what was collected")
    matrix.add_argument("--chunks", type=int, default=0, metavar="N", help="run so many times 512 tokens; default: all")
    types = parser.add_argument_group("types of single tensors")
    types.add_argument(
        "--tensor",
        action="append",
        default=[],
        metavar="PATTERN=TYPE",
        help="tensors whose names match; again for more, the first that matches counts",
    )
    types.add_argument("--output-type", metavar="TYPE", help="of output.weight")
    types.add_argument("--token-embedding-type", metavar="TYPE", help="of token_embd.weight")
    types.add_argument("--pure", action="store_true", help="all matrices of one type, no mixture")
    types.add_argument("--prune-layers", metavar="3,5", help="leave these layers out; counted from 0")
    types.add_argument("--requantize", action="store_true", help="quantize what is quantized already")
    quality = parser.add_argument_group("artifact and quality")
    quality.add_argument("--artifact", type=Path, metavar="DIR", help="make a folder with manifest.json, not a file")
    quality.add_argument("--name", help="of the artifact; by default what IN is called")
    quality.add_argument("--version", default="1", help="of the artifact (default: 1)")
    quality.add_argument("--measure", action="store_true", help="measure a file too: KL divergence against IN")
    quality.add_argument("--text", type=Path, metavar="FILE", help="text to measure on; by default the model writes it")
    add_accept_option(parser)
    parser.add_argument("--max-memory", metavar="SIZE", help="what quantizing may take: 600MB (the default), 2GB, ...")
    parser.add_argument("--threads", type=int, default=0, metavar="N", help="one per core unless given")
    parser.add_argument("--json", action="store_true", help="print JSON, for scripts")


def run(given: argparse.Namespace) -> int:
    from convert.quantization import summary
    from convert.quantization.choose import choose, find_board
    from convert.quantization.quantize import check_fresh, check_plan, open_source, plan

    recipe, artifact = _recipe(given), _artifact(given)
    board = find_board(given.board, given.memory_mb) if given.board else None
    header = open_source(given.source)
    target = _target(given, recipe.level) if board is None else None
    (planned,) = plan(given.source, [recipe])
    if board is None:
        check_fresh(planned)
    with tempfile.TemporaryDirectory() as folder:
        recipe = _with_imatrix(given, recipe, header, Path(folder))
        choice: Choice | None = None
        if board is not None:
            choice = choose(given.source, recipe, board)
            say(choice.sentence())
            planned, target = choice.plan, _target(given, choice.plan.recipe.level)
        elif recipe.imatrix is not None:
            (planned,) = plan(given.source, [recipe])
        check_plan(planned)
        for line in summary.remarks(planned):
            say(line)
        made = _make(given, planned, target or Path(), artifact=artifact)
    if given.json:
        print_json(summary.value(made, planned, choice))
    else:
        print(summary.report(made, planned))
    return 0


def _recipe(given: argparse.Namespace) -> Recipe:
    """The options, each held against what it may be. Raises `RequestError`."""
    from convert.quantization.recipe import (
        DEFAULT_MAX_MEMORY_BYTES,
        Recipe,
        read_layers,
        read_level,
        read_override,
        read_size,
        read_type,
    )

    for option, number in (("--threads", given.threads), ("--chunks", given.chunks)):
        if number < 0:
            raise RequestError(f"{option}: expected 0 or more, got {number}.")
    if given.memory_mb is not None and not given.board:
        raise RequestError("--memory-mb is the memory of a board.", hint="Name the board with --for.")
    if given.save_imatrix is not None and given.imatrix is None:
        raise RequestError("--save-imatrix keeps what --imatrix TEXT.txt collects.", hint="Add --imatrix TEXT.txt.")
    if given.text is not None and not given.text.is_file():
        raise RequestError(f"--text: {given.text} is not a file.")
    return Recipe(
        level=read_level(given.quant or _DEFAULT),
        overrides=tuple(read_override(text) for text in given.tensor),
        output_type=read_type(given.output_type) if given.output_type else None,
        token_embedding_type=read_type(given.token_embedding_type) if given.token_embedding_type else None,
        prune=read_layers(given.prune_layers) if given.prune_layers else (),
        pure=given.pure,
        requantize=given.requantize,
        threads=given.threads,
        max_memory_bytes=read_size(given.max_memory) if given.max_memory else DEFAULT_MAX_MEMORY_BYTES,
    )


def _artifact(given: argparse.Namespace) -> bool:
    """Whether a folder is asked for. Raises `RequestError` for options that do not go together."""
    if given.artifact is not None and given.target is not None:
        raise RequestError("OUT and --artifact are two places for one result.", hint="Leave one of them out.")
    artifact = given.artifact is not None or (given.target is not None and given.target.suffix != ".gguf")
    if given.name is not None and not artifact:
        raise RequestError("--name is for an artifact.", hint="Add --artifact DIR.")
    if (given.text or given.accept_quality) and not (artifact or given.measure):
        raise RequestError("--text and --accept-quality are for measuring.", hint="Add --measure or --artifact DIR.")
    if artifact:
        check_name(given.name or suggest_name(given.source.stem))
        check_version(given.version)
    return artifact


def _target(given: argparse.Namespace, level: str) -> Path:
    """Where the result goes; refused where something is, before any work is done."""
    target: Path = given.artifact or given.target or given.source.with_name(f"{_stem(given.source)}-{level}.gguf")
    if target.exists():
        raise ArtifactError(f"{target} exists already.", hint="Choose another name, or remove it first.")
    if not target.absolute().parent.is_dir():
        raise ArtifactError(f"{target.parent} is not a folder.", hint="Make it first, or choose another place.")
    return target


def _stem(source: Path) -> str:
    stem = source.stem
    for ending in _UNQUANTIZED:
        if stem.lower().endswith(ending):
            return stem[: -len(ending)]
    return stem


def _with_imatrix(given: argparse.Namespace, recipe: Recipe, header: Header, folder: Path) -> Recipe:
    import msgspec

    from convert.quantization.imatrix import read_imatrix
    from convert.quantization.imatrix_source import collect_imatrix, is_text, keep

    path: Path | None = given.imatrix
    if path is None:
        return recipe
    if is_text(path):
        text_bytes, path = path.stat().st_size, folder / f"{given.imatrix.stem}.imatrix.gguf"
        if given.save_imatrix is not None and given.save_imatrix.exists():
            raise ArtifactError(
                f"{given.save_imatrix} exists already.", hint="Choose another name, or remove it first."
            )
        with Progress("collecting the imatrix") as progress:
            collect_imatrix(
                header,
                given.imatrix,
                path,
                chunks=given.chunks,
                threads=given.threads,
                on_chunk=lambda done, total: progress(text_bytes * done // total, text_bytes),
            )
        if given.save_imatrix is not None:
            keep(path, given.save_imatrix)
        if (chunks := read_imatrix(path).chunks) < _FEW_CHUNKS:
            say(f"{given.imatrix} is short: {chunks * 512} tokens. 50,000 and more make a better imatrix.")
    elif given.save_imatrix is not None or given.chunks:
        raise RequestError(f"{path} is an imatrix already: --save-imatrix and --chunks are for collecting one.")
    return msgspec.structs.replace(recipe, imatrix=str(path.absolute()))


def _make(given: argparse.Namespace, planned: Plan, target: Path, *, artifact: bool) -> Made:
    from convert.quantization.making import Measurement, make_artifact, make_file

    measurement = Measurement(text=given.text, threads=given.threads, accept=given.accept_quality, say=say)
    if artifact:
        name = given.name or suggest_name(_stem(given.source))
        return make_artifact(planned, target, measurement, name=name, version=given.version)
    return make_file(planned, target, measurement if given.measure else None)
