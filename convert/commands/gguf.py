"""A Hugging Face checkpoint to GGUF, quantized and measured: one artifact folder per quantization."""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Final

from agent.errors import RequestError
from agent.store.names import check_name, suggest_name
from agent.terminal import print_json, size
from convert.artifact import refuse_existing
from convert.commands.order import add_options, check_threads, name_of, say
from convert.made import Results

if TYPE_CHECKING:
    from convert.gguf.artifact import Source
    from convert.gguf.check import Facts
    from convert.gguf.tools import Tools

NAME: Final = "gguf"
HELP: Final = "a Hugging Face checkpoint, or a LoRA adapter, to GGUF"

_DEFAULT_QUANT: Final = "Q4_K_M"
_TEXT_COLUMNS: Final = {
    "KL DIVERGENCE": ("kl_mean", "{:.4f}"),
    "PERPLEXITY RATIO": ("perplexity_ratio", "{:.3f}"),
    "SAME TOP TOKEN": ("top1_agreement", "{:.1%}"),
}
_VECTOR_COLUMNS: Final = {
    "MEAN COSINE": ("mean_cosine", "{:.4f}"),
    "WORST COSINE": ("worst_cosine", "{:.3f}"),
    "SAME NEIGHBOR": ("top1_agreement", "{:.1%}"),
}


def configure(parser: argparse.ArgumentParser) -> None:
    add_options(parser, example="Qwen/Qwen2.5-0.5B-Instruct", several="quantizations", ending="QUANT")
    parser.add_argument(
        "--quant", metavar="NAME[,NAME...]", help=f"{_DEFAULT_QUANT} (the default), Q8_0, ...; F32, F16, BF16 as well"
    )
    parser.add_argument("--lora", action="store_true", help="SRC is a LoRA adapter; --out is a file")
    parser.add_argument("--base", metavar="DIR_OR_ID", help="the base model of the adapter; its config.json is enough")
    parser.add_argument("--keep-f16", action="store_true", help="make an artifact of the unquantized model too")
    parser.add_argument(
        "--imatrix", type=Path, metavar="FILE", help="an importance matrix, or a text to collect one from"
    )
    parser.add_argument("--text", type=Path, metavar="FILE", help="text to measure on; by default the model writes it")
    parser.add_argument(
        "--trust-remote-code", action="store_true", help="run the programs that the checkpoint brings for its tokenizer"
    )
    parser.add_argument("--verbose", action="store_true", help="show what llama.cpp's converter prints")


def run(given: argparse.Namespace) -> int:
    from convert.gguf.tools import require_packages

    if given.base is not None and not given.lora:
        raise RequestError("--base is for adapters.", hint="Add --lora, or leave --base out.")
    check_threads(given)
    for file, option in ((given.text, "--text"), (given.imatrix, "--imatrix")):
        if file is not None and not file.is_file():
            raise RequestError(f"{option}: {file} is not a file.")
    if given.lora:
        return _lora(given)
    order = _order(given)
    require_packages()
    return _convert(given, order)


@dataclass(frozen=True)
class Order:
    """What was asked for. `name` is safe to be a model's name; `quants` are levels, in the order given."""

    source: str
    name: str
    quants: tuple[str, ...]
    out: Path | None

    def targets(self, quants: tuple[str, ...]) -> dict[str, Path]:
        """Where each goes: `--out` itself is for the only one."""
        if len(quants) == 1 and self.out is not None:
            return {quants[0]: self.out}
        folder = self.out or Path()
        return {quant: folder / f"{self.name}-{quant}" for quant in quants}

    def artifact_name(self, quant: str, quants: tuple[str, ...]) -> str:
        """In the manifest: several of one model cannot share a name in the store."""
        return self.name if len(quants) == 1 else f"{self.name}-{quant}"


def _order(given: argparse.Namespace) -> Order:
    from convert.quantization.recipe import COPY, read_level

    levels = [read_level(part.strip()) for part in (given.quant or _DEFAULT_QUANT).split(",")]
    if COPY in levels:
        raise RequestError(f"--quant: {COPY} says nothing here.", hint="--keep-f16 keeps the unquantized model.")
    order = Order(given.source, name_of(given), tuple(dict.fromkeys(levels)), given.out)
    for target in order.targets(order.quants).values():
        refuse_existing(target)
    return order


def _convert(given: argparse.Namespace, order: Order) -> int:
    from convert.artifact import new_artifact
    from convert.gguf.artifact import Source
    from convert.gguf.base import convert_checkpoint, probe_made
    from convert.source import label, source_name

    tools, folder, facts = _checked(given)
    floats = "F32" if "F32" in order.quants else facts.floats
    quants = order.quants if not given.keep_f16 or floats in order.quants else (*order.quants, floats)
    targets = order.targets(quants)
    for target in targets.values():
        refuse_existing(target)
    called = source_name(order.source)
    say(f"{called}: {facts.architecture}, {size(facts.weights_bytes)}, converting to {floats}")
    room_bytes = facts.weights_bytes * (2 if floats == "F32" and facts.floats != "F32" else 1)
    place = next(iter(targets.values())).parent
    with _folder(place), new_artifact(place / f".{order.name}-unquantized", room_bytes) as work:
        base = convert_checkpoint(  # `work` is never finished: it is gone at the end
            tools,
            folder,
            floats,
            work.folder,
            name=called,
            trust_code=given.trust_remote_code,
            verbose=given.verbose,
        )
        probe_made(base, called)
        results = _make_all(given, order, Source(base, floats, label(order.source, folder)), targets)
    embeds = bool(results.made) and results.made[0].manifest.task == "embed"
    results.tell(_VECTOR_COLUMNS if embeds else _TEXT_COLUMNS, json=given.json)
    return 0


def _checked(given: argparse.Namespace) -> tuple[Tools, Path, Facts]:
    """The whole checkpoint in a folder here, found sound; what is small is looked at before the weights are fetched."""
    from convert.gguf.check import check_config, check_weights
    from convert.gguf.tools import find_tools, installed_version
    from convert.source import resolve

    described = resolve(given.source, revision=given.revision, files=("config.json", "adapter_config.json"))
    tools = find_tools()
    architecture = check_config(described, tools, installed_version())
    folder = _fetch_weights(given)
    return tools, folder, check_weights(folder, architecture)


def _make_all(given: argparse.Namespace, order: Order, source: Source, targets: dict[str, Path]) -> Results:
    from convert.gguf.artifact import Quantizer

    results = Results()
    with Quantizer(
        source, text=given.text, threads=given.threads, accept=given.accept_quality, imatrix=given.imatrix, say=say
    ) as quantizer:
        plans = quantizer.plan(tuple(targets))
        for quant, target in targets.items():
            name = order.artifact_name(quant, tuple(targets))
            make = partial(quantizer.make, quant, plans.get(quant), target, name=name, version=given.version)
            results.take(quant, make)
    return results


@contextmanager
def _folder(place: Path) -> Iterator[None]:
    """The folder for what is made; gone again if it was not there before and nothing came into it."""
    there = place.exists()
    place.mkdir(parents=True, exist_ok=True)
    try:
        yield
    finally:
        if not there:
            with suppress(OSError):
                place.rmdir()


def _fetch_weights(given: argparse.Namespace) -> Path:
    """The whole checkpoint: its safetensors, or where it has none, what PyTorch saved."""
    from convert.gguf.check import WEIGHTS
    from convert.source import EVERYTHING_BUT_WEIGHTS, is_hub_id, resolve

    described = (*EVERYTHING_BUT_WEIGHTS, *(["*.py"] if given.trust_remote_code else []))
    folder = resolve(given.source, revision=given.revision, files=(*described, WEIGHTS[0]))
    if is_hub_id(given.source) and not any(folder.glob(WEIGHTS[0])):
        folder = resolve(given.source, revision=given.revision, files=(*described, WEIGHTS[1]))
    return folder


def _lora(given: argparse.Namespace) -> int:
    from convert.gguf.check import check_config
    from convert.gguf.lora import FILES, check_adapter, convert_lora, find_base, read_kind
    from convert.gguf.tools import find_tools, installed_version, require_packages
    from convert.source import resolve, source_name

    name = given.name or suggest_name(source_name(given.source))
    check_name(name)
    kind = read_kind(given.quant or "F16")
    target: Path = given.out or Path(f"{name}-{kind}.gguf")
    if target.suffix != ".gguf":
        raise RequestError(f"--out: an adapter becomes a file, and {target} does not end in .gguf.")
    refuse_existing(target)
    require_packages()
    folder = resolve(given.source, revision=given.revision, files=FILES)
    base = find_base(check_adapter(folder), given.base)
    tools: Tools = find_tools()
    check_config(base, tools, installed_version())
    called = source_name(given.source)
    with _folder(target.parent):
        made = convert_lora(tools, folder, base, target, kind, name=called, verbose=given.verbose)
    if given.json:
        print_json({"path": str(target), "quantization": kind, "bytes": made})
    else:
        print(f"{target}: adapter, {kind}, {size(made)}")
    return 0
