"""From a trained model to the artifact that ships: Q8_0, measured through the engine, with its card and license."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import msgspec
from tokenizers import Tokenizer

from agent.store.gguf_source import plan_gguf
from agent.store.manifest import Manifest
from convert.artifact import new_artifact
from convert.gguf.base import MODEL, probe_made
from convert.quality.gates import check
from convert.quantization.quantize import check_plan, plan
from convert.quantization.quantize import write as write_quantized
from convert.quantization.recipe import Recipe as Quantization
from convert.starter.chat import gguf_file
from convert.starter.chat.card import card
from convert.starter.chat.engine import ChatWorker
from convert.starter.chat.evaluation import Scored
from convert.starter.chat.measure import GATES, measure
from convert.starter.chat.model import Llama
from convert.starter.chat.samples import transcripts
from convert.starter.chat.training import Recipe, Trained
from convert.starter.mit import MIT

LEVEL: Final = "Q8_0"
VERSION: Final = "1"

Judge = Callable[[ChatWorker], tuple[dict[str, Any], dict[str, Scored]]]


def quantized(model: Llama, tokenizer: Tokenizer, target: Path) -> None:
    """`target` as a GGUF file at Q8_0, by llama.cpp."""
    with tempfile.TemporaryDirectory() as scratch:
        base = Path(scratch) / f"{gguf_file.NAME}-f32.gguf"
        gguf_file.write(base, model, tokenizer)
        (planned,) = plan(base, [Quantization(level=LEVEL, threads=1)])
        check_plan(planned)
        write_quantized(planned, target, on_bytes=lambda done, total: None)


def pack(
    trained: Trained,
    tokenizer: Tokenizer,
    target: Path,
    recipe: Recipe,
    *,
    accept: bool = False,
    judge: Judge = measure,
    say: Callable[[str], None],
) -> tuple[Manifest, dict[str, Scored]]:
    """The artifact folder `target`: model.gguf, README.md, LICENSE, manifest.json; and what was answered wrongly.

    `judge` takes the figures through the engine. Raises `QualityError` where a gate of `measure.GATES` is missed,
    unless `accept`; `ArtifactError` where `target` exists.
    """
    with new_artifact(target) as staged:
        file = staged.folder / MODEL
        say(f"writing {LEVEL}")
        quantized(trained.model, tokenizer, file)
        draft = plan_gguf(file, gguf_file.NAME, VERSION, probe_made(file, gguf_file.NAME)).draft
        say("measuring through the engine")
        with ChatWorker(file) as worker:
            figures, scored = judge(worker)
            samples = transcripts(worker)
        text = card(
            figures,
            samples,
            trained=trained,
            recipe=recipe,
            size_bytes=file.stat().st_size,
        )
        (staged.folder / "README.md").write_text(text, "utf-8")
        (staged.folder / "LICENSE").write_text(MIT, "utf-8")
        fields = {key: value for key, value in msgspec.structs.asdict(draft).items() if key != "files"}
        fields |= {
            "quantization": LEVEL,
            "license": "mit",
            "source": f"convert.starter.chat, seed {recipe.seed}, {trained.steps} steps",
            "quality": check(figures, GATES, accept=accept),
        }
        return staged.finish(**fields), scored
