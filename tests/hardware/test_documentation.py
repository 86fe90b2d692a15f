"""`docs/profiles.md` names every profile and every key, and shows what the doctor really prints."""

from __future__ import annotations

from pathlib import Path

import pytest

from agent.hardware import report, schema, sections
from agent.hardware.profile import Profile, load_profiles
from tests.hardware.test_doctor import report_on

TEXT = (Path(__file__).resolve().parents[2] / "docs/profiles.md").read_text()
SECTIONS = [name for name in schema.fields(Profile) if name != "name"]


@pytest.mark.parametrize("section", SECTIONS)
def test_every_key_of_a_section_is_documented(section: str) -> None:
    assert f"**`[{section}]`**" in TEXT
    for key in schema.fields(schema.hints(Profile)[section]):
        assert f"`{key}`" in TEXT, f"{section}.{key}"


def test_every_key_of_a_memory_row_is_documented() -> None:
    assert [key for key in schema.fields(sections.MemoryStep) if f"`{key}`" not in TEXT] == []


def test_every_profile_is_documented() -> None:
    assert [profile.name for profile in load_profiles() if f"| `{profile.name}` |" not in TEXT] == []


def test_the_example_is_what_the_doctor_prints() -> None:
    printed = report.as_text(report_on("pi-5")).splitlines()
    start = TEXT.index("    $ edge-agent doctor\n")
    example = TEXT[start : TEXT.index("(shortened)")].splitlines()[1:]
    assert [line for line in example if line.strip() and line[4:] not in printed] == []
