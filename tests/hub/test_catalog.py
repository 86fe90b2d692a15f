"""The table of well-known models, and what is suggested of it."""

from __future__ import annotations

from pathlib import Path

import pytest

from agent.errors import StoreError
from agent.hardware.fit import SHAPES
from agent.hardware.profile import Profile, load_profiles
from agent.hardware.sections import Recommend
from agent.hub.catalog import KnownModel, known_models, largest_that_fits, suggestions
from agent.hub.room import Room
from agent.hub.source import parse_source

MODELS = known_models()
PROFILES = load_profiles()
MB = 1_000_000


def room(profile: Profile, memory_mb: int, disk_mb: int = 1_000_000) -> Room:
    return Room(
        memory_bytes=memory_mb * MB,
        disk_bytes=disk_mb * MB,
        llama=profile.llama,
        decode_gb_per_s=profile.recommend.decode_gb_per_s,
    )


PI_5 = next(profile for profile in PROFILES if profile.name == "pi-5")


@pytest.mark.parametrize("profile", PROFILES, ids=lambda profile: profile.name)
def test_every_recommended_model_is_in_the_table(profile: Profile) -> None:
    recommend = profile.recommend
    for task in ("generate", "embed", "transcribe"):
        names = {model.name for model in MODELS if model.task == task}
        assert set(getattr(recommend, task)) <= names


@pytest.mark.parametrize("model", MODELS, ids=lambda model: model.name)
def test_every_row_can_be_pulled_and_weighed(model: KnownModel) -> None:
    source = parse_source(model.source)
    assert (source.choice is not None) == (model.task == "generate")
    assert (model.shape in {shape.name for shape in SHAPES}) == (model.task == "generate")
    (one,) = suggestions([model], PI_5.recommend, room(PI_5, 100_000))
    assert one.fits
    assert one.need.exact
    assert one.need.bytes > model.graph_bytes or model.bytes
    assert model.graph_bytes < model.bytes


@pytest.mark.parametrize("model", [m for m in MODELS if m.shape], ids=lambda model: model.name)
def test_file_sizes_are_near_what_the_shape_makes(model: KnownModel) -> None:
    """A wrong digit would show. Qwen's own files hold the output matrix twice where it is tied: up to 40% more."""
    shape = next(shape for shape in SHAPES if shape.name == model.shape)
    assert 0.98 <= model.bytes / shape.weights_bytes() <= 1.4


def test_those_that_fit_come_first_and_the_profile_s_own_before_others() -> None:
    found = [one for one in suggestions(MODELS, PI_5.recommend, room(PI_5, 3000)) if one.model.task == "generate"]
    assert [one.model.name.split("-Instruct")[0] for one in found] == [
        "Qwen2.5-1.5B",
        "Qwen2.5-0.5B",
        "Qwen2.5-3B",
        "SmolLM2-135M",
        "SmolLM2-360M",
        "Qwen2.5-7B",
        "Qwen2.5-14B",
    ]
    assert [one.fits for one in found] == [True] * 5 + [False] * 2
    assert found[-1].reason.startswith("it needs 9.")
    assert found[-1].reason.endswith("GB of memory, and the board has 3.0 GB for models")


def test_a_full_disk_is_a_reason() -> None:
    (one,) = suggestions(MODELS[2:3], PI_5.recommend, room(PI_5, 3000, disk_mb=300))
    assert one.reason == "it needs 491 MB of disk, and 300 MB can be filled"


@pytest.mark.parametrize(
    ("memory_mb", "task", "name"),
    [
        (3000, "generate", "Qwen2.5-3B-Instruct Q4_K_M"),
        (700, "generate", "Qwen2.5-0.5B-Instruct Q4_K_M"),
        (10, "generate", None),
        (700, "transcribe", "whisper-base INT8"),
    ],
)
def test_the_largest_that_fits(memory_mb: int, task: str, name: str | None) -> None:
    found = largest_that_fits(MODELS, task, room(PI_5, memory_mb))  # type: ignore[arg-type]
    assert (found.model.name if found else None) == name


def test_speed_is_known_where_the_profile_knows_the_board() -> None:
    none = Recommend(generate=(), embed=(), transcribe=(), decode_gb_per_s=0.0)
    slow = next(one for one in suggestions(MODELS, PI_5.recommend, room(PI_5, 3000)) if one.model.shape)
    assert slow.need.tokens_per_s == pytest.approx(10.0e9 / slow.model.bytes)
    unknown = Room(memory_bytes=10**10, disk_bytes=10**10, llama=PI_5.llama, decode_gb_per_s=0.0)
    assert all(one.need.tokens_per_s is None for one in suggestions(MODELS, none, unknown))


def test_a_broken_table_says_so(tmp_path: Path) -> None:
    broken = tmp_path / "models.toml"
    broken.write_text("[[model]]\nname = 1\n")
    with pytest.raises(StoreError, match=r"models.toml cannot be read"):
        known_models(broken)
