"""Artifacts of an unquantized GGUF file: quantized, measured, whole or not there. No torch is needed for that."""

from __future__ import annotations

from pathlib import Path

import pytest

from agent.errors import ArtifactError, RequestError
from agent.store.manifest import read_manifest
from convert.gguf.artifact import Quantizer, Source
from convert.quality.gates import QualityError
from tests.convert.quantization.models import write_model

TEXT = Path(__file__).resolve().parents[1] / "quantization" / "stories.txt"


@pytest.fixture(scope="module")
def wide_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Random weights, of rows long enough for every type."""
    return write_model(tmp_path_factory.mktemp("wide") / "model.gguf")


def quantizer(path: Path, *, accept: bool = False, imatrix: Path | None = None) -> Quantizer:
    source = Source(path, "F32", "stories260k")
    return Quantizer(source, text=None, threads=1, accept=accept, imatrix=imatrix, say=lambda _: None)


def test_one_reference_serves_several_artifacts(stories_model: Path, tmp_path: Path) -> None:
    source = tmp_path / "source.gguf"
    source.write_bytes(stories_model.read_bytes())
    kinds = ("Q8_0", "Q4_K_M", "F32")  # the last as it is
    with quantizer(source) as made:
        plans = made.plan(kinds)
        assert sorted(plans) == ["Q4_K_M", "Q8_0"]
        found = {k: made.make(k, plans.get(k), tmp_path / k, name=f"s-{k}", version="1").manifest for k in kinds}
    for kind, manifest in found.items():
        assert read_manifest(tmp_path / kind / "manifest.json") == manifest
        assert (manifest.name, manifest.quantization, manifest.source) == (f"s-{kind}", kind, "stories260k")
        assert (manifest.task, manifest.context, manifest.main_file) == ("generate", 512, "model.gguf")
        assert manifest.quality["passed"]
    assert found["Q8_0"].quality["kl_mean"] < found["Q4_K_M"].quality["kl_mean"]
    assert found["Q8_0"].total_bytes > found["Q4_K_M"].total_bytes
    assert (tmp_path / "F32" / "model.gguf").read_bytes() == source.read_bytes()


def test_what_misses_its_gates_is_kept_only_when_accepted(wide_model: Path, tmp_path: Path) -> None:
    with quantizer(wide_model) as strict:
        plans = strict.plan(["Q2_K"])
        with pytest.raises(QualityError, match="kl_mean"):
            strict.make("Q2_K", plans["Q2_K"], tmp_path / "out", name="s", version="1")
    assert list(tmp_path.iterdir()) == []
    with quantizer(wide_model, accept=True) as lenient:
        made = lenient.make("Q2_K", plans["Q2_K"], tmp_path / "out", name="s", version="1")
    assert (made.manifest.quality["passed"], made.manifest.quality["accepted"]) == (False, True)


def test_what_needs_an_imatrix_is_said_before_anything_is_made(wide_model: Path) -> None:
    with quantizer(wide_model) as made, pytest.raises(RequestError, match="needs an imatrix"):
        made.plan(["Q8_0", "IQ2_XS"])


def test_a_text_becomes_an_imatrix(wide_model: Path, tmp_path: Path) -> None:
    text = tmp_path / "text.txt"
    text.write_text(TEXT.read_text()[:4000])
    with quantizer(wide_model, accept=True, imatrix=text) as made:
        plans = made.plan(["IQ2_XS"])
        manifest = made.make("IQ2_XS", plans["IQ2_XS"], tmp_path / "out", name="s", version="1").manifest
    assert (manifest.quantization, manifest.metadata["architecture"]) == ("IQ2_XS", "llama")
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["manifest.json", "model.gguf"]


def test_a_target_that_exists_is_not_touched(wide_model: Path, tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    with quantizer(wide_model) as made, pytest.raises(ArtifactError, match="exists already"):
        made.make("Q8_0", made.plan(["Q8_0"])["Q8_0"], tmp_path / "out", name="s", version="1")
    assert list((tmp_path / "out").iterdir()) == []
