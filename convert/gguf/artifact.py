"""One artifact folder per quantization of one unquantized GGUF file, each measured against it."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec

from agent.errors import ArtifactError
from agent.store.gguf_source import plan_gguf
from agent.store.manifest import Manifest
from agent.terminal import Progress
from convert.artifact import new_artifact
from convert.gguf import vectors
from convert.gguf.base import MODEL, probe_made
from convert.made import Made
from convert.quality.gates import TEXT_GATES, check, not_measured
from convert.quality.text import Reference
from convert.quantization.imatrix_source import collect_imatrix, is_text
from convert.quantization.quantize import Plan, check_plan, open_source, plan, write
from convert.quantization.recipe import Recipe

OnStep = Callable[[str], None]


@dataclass(frozen=True)
class Source:
    """The unquantized GGUF file `path`, of type `kind`, made of the checkpoint that `label` names in one line."""

    path: Path
    kind: str
    label: str


class Quantizer:
    """Makes artifacts of one source. A context manager: what the source predicts is kept until the end.

    `text` is a file to measure on, or None for a text that the model writes itself; `threads` 0 is one per core;
    `accept` keeps what misses its gates. `say` is told what is being done.
    """

    def __init__(
        self, source: Source, *, text: Path | None, threads: int, accept: bool, imatrix: Path | None, say: OnStep
    ) -> None:
        self.source = source
        self._text = text
        self._threads = threads
        self._accept = accept
        self._imatrix = imatrix
        self._say = say
        self._reference: Reference | None = None
        self._vectors: vectors.Vectors | None = None

    def __enter__(self) -> Quantizer:
        return self

    def __exit__(self, *_: object) -> None:
        if self._reference is not None:
            self._reference.close()

    def plan(self, kinds: Sequence[str]) -> dict[str, Plan]:
        """What each of `kinds` will be, checked before the first is made; the source's own kind needs no plan.

        A text given as the imatrix is run through the model here. Raises `RequestError` for a kind that llama.cpp
        will not make of this model, such as one that needs an imatrix; `ArtifactError` for a bad imatrix.
        """
        wanted = [kind for kind in kinds if kind != self.source.kind]
        imatrix = str(self._find_imatrix().absolute()) if self._imatrix is not None and wanted else None
        recipes = [Recipe(level=kind, imatrix=imatrix, threads=self._threads) for kind in wanted]
        plans = plan(self.source.path, recipes) if recipes else []
        for one in plans:
            check_plan(one)
        return dict(zip(wanted, plans, strict=True))

    def _find_imatrix(self) -> Path:
        assert self._imatrix is not None
        if not is_text(self._imatrix):
            return self._imatrix
        self._say(f"collecting an imatrix over {self._imatrix.name}")
        target = self.source.path.with_name("imatrix.gguf")
        collect_imatrix(open_source(self.source.path), self._imatrix, target, threads=self._threads)
        return target

    def make(self, kind: str, planned: Plan | None, target: Path, *, name: str, version: str) -> Made:
        """The artifact folder `target` with model.gguf and manifest.json, whole or not at all.

        Raises `QualityError` where it is below its gates, unless that is accepted; `ArtifactError` where `target`
        exists or the model cannot be quantized; `DiskFullError`.
        """
        with new_artifact(target, planned.bytes if planned else 0) as staged:
            model = staged.folder / MODEL
            if planned is None:
                _link(self.source.path, model)
            else:
                with Progress(f"quantizing to {kind}") as progress:
                    write(planned, model, on_bytes=progress)
            report = probe_made(model, f"{self.source.label} at {kind}")
            draft = plan_gguf(model, name, version, report).draft
            fields = {key: value for key, value in msgspec.structs.asdict(draft).items() if key != "files"}
            fields |= {"quantization": kind, "source": self.source.label, "quality": self._quality(kind, model, draft)}
            return Made(target, staged.finish(**fields))

    def _quality(self, kind: str, model: Path, draft: Manifest) -> dict[str, Any]:
        if kind == self.source.kind:
            return {
                "measured": True,
                "against": f"itself: {kind} is what the others are measured against",
                "passed": True,
            }
        self._say(f"measuring {kind} against {self.source.kind}")
        if draft.task == "embed":
            return check(self._compare_vectors(model), vectors.GATES, accept=self._accept)
        return check(self._compare_text(model), TEXT_GATES, accept=self._accept)

    def _compare_vectors(self, model: Path) -> dict[str, Any]:
        from convert.quality.vectors import built_in_sentences, compare, read_sentences  # loads ONNX Runtime

        sentences = built_in_sentences() if self._text is None else read_sentences(self._text)
        if self._vectors is None:
            self._vectors = vectors.embed(self.source.path, sentences, threads=self._threads)
        found = vectors.embed(model, sentences, threads=self._threads)
        text = "built in" if self._text is None else self._text.name
        return {
            "against": self.source.kind,
            "text": text,
            "sentences": len(sentences),
            **compare(self._vectors, found),
        }

    def _compare_text(self, model: Path) -> dict[str, Any]:
        try:
            if self._reference is None:
                self._reference = Reference(
                    self.source.path, self._text, threads=self._threads, scratch=self.source.path.parent
                )
            return {**self._reference.compare(model), "against": self.source.kind}
        except ArtifactError as error:
            return not_measured(error.message)


def _link(source: Path, target: Path) -> None:
    """The same file under another name where the file system can, else a copy."""
    try:
        os.link(source, target)
    except OSError:
        shutil.copyfile(source, target)
