"""The report as Markdown, as JSON, on a terminal and as a picture."""

from __future__ import annotations

import json
import re
import struct
from dataclasses import replace
from pathlib import Path

import pytest

from convert.report.level import Level
from convert.report.page import markdown, plain
from convert.report.picture import draw
from convert.report.report import Report, as_json, rows_of
from tests.convert.report.conftest import MakeLevel


def tables(page: str) -> list[list[list[str]]]:
    found: list[list[list[str]]] = []
    for block in page.split("\n\n"):
        if block.startswith("|"):
            found.append([re.split(r"(?<!\\)\|", line)[1:-1] for line in block.splitlines()])
    return found


def test_the_page_says_first_what_to_take_then_the_levels_then_how_it_was_measured(report: Report) -> None:
    page = markdown(report, picture=True)
    headings = re.findall(r"^#+ .*$", page, re.MULTILINE)
    assert headings[0].endswith("which level?")
    assert headings[1:] == ["## Recommendation", "## The levels", "## How it was measured"]
    assert "- `pi-5`: **Q4_K_M** with 2 GB, **Q6_K** with 4 GB and more" in page.split("## ")[0]
    assert "- `pi-zero-2w`: none with 512 MB and more" in page.split("## ")[0]


def test_tables_have_as_many_cells_in_every_row(report: Report) -> None:
    recommended, levels = tables(markdown(report, picture=False))
    for rows in (recommended, levels):
        assert len({len(row) for row in rows}) == 1
    assert [row[0].strip().strip("*") for row in levels[2:]] == [level.name for level in report.levels]
    assert [row[-1].strip() for row in levels[2:]] == ["yes", "yes", "yes", "yes", "**no**"]


def test_a_level_that_is_below_its_gates_is_named(report: Report) -> None:
    assert "recommended for no board: Q2_K." in markdown(report, picture=False)


def test_one_level_for_all_boards_is_one_sentence(report: Report) -> None:
    same = tuple(choice for choice in report.choices if choice.level is not None and choice.level.name == "Q6_K")
    page = markdown(replace(report, choices=same), picture=False)
    assert "Take **Q6_K** (1.4 GB) on every board here." in page


def test_the_picture_is_mentioned_only_where_there_is_one(report: Report) -> None:
    assert "](report.png)" in markdown(report, picture=True)
    assert "report.png" not in markdown(report, picture=False)


def test_a_name_cannot_break_the_page(report: Report) -> None:
    page = markdown(replace(report, model="a|b`*c*\n## d <img src=x>"), picture=False)
    assert page.splitlines()[0] == r"# a\|b\`\*c\* \#\# d \<img src=x\>: which level?"


def test_neighboring_boards_with_the_same_level_share_a_row(report: Report) -> None:
    shown = [(row.choices[0].board.profile.name, row.memory) for row in rows_of(report.choices)]
    assert shown == [("pi-5", "2 GB"), ("pi-5", "4 GB and more"), ("pi-zero-2w", "512 MB"), ("pi-zero-2w", "1 GB")]
    assert sum(len(row.choices) for row in rows_of(report.choices)) == len(report.choices)


def test_the_terminal_shows_every_level_and_no_markup(report: Report) -> None:
    text = plain(report)
    assert all(level.name in text for level in report.levels)
    assert "**" not in text
    assert "7.35 (1.75x)" in text or "7.4 (1.75x)" in text


def test_json_holds_all_numbers(report: Report) -> None:
    value = json.loads(json.dumps(as_json(report), allow_nan=False))
    assert [level["level"] for level in value["levels"]] == [level.name for level in report.levels]
    q8 = value["levels"][1]
    assert q8["file_bytes"] == 1_650_000_000
    assert q8["quality"]["kl_mean"] == 0.001
    assert q8["speed"]["decode"] == {"unit": "tok/s", "median": 7.35, "rounds": [7.0, 7.7], "ratio_to_first": 1.75}
    assert len(value["recommendations"]) == len(report.choices)
    first = value["recommendations"][0]
    assert (first["profile"], first["level"], first["context_tokens"]) == ("pi-5", "Q4_K_M", 4096)


def png_size(path: Path) -> tuple[int, int]:
    data = path.read_bytes()
    assert data.startswith(b"\x89PNG\r\n\x1a\n")
    width, height = struct.unpack(">II", data[16:24])
    return width, height


def test_the_picture_is_a_png_of_a_readable_size(report: Report, tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    draw(report, tmp_path / "report.png")
    width, height = png_size(tmp_path / "report.png")
    assert width == 1800
    assert 700 <= height <= 2000


@pytest.mark.parametrize("losses", [(0.0,), (0.0, 0.0, 0.0), (0.3, 5.0), (float("inf"), 0.0), (1e-9, 0.05)])
def test_any_losses_can_be_drawn(
    report: Report, make_level: MakeLevel, tmp_path: Path, losses: tuple[float, ...]
) -> None:
    pytest.importorskip("matplotlib")
    made: list[Level] = [make_level(f"L{i}", 1.0 + i, loss) for i, loss in enumerate(losses)]
    draw(replace(report, levels=tuple(made), model="5$ and $x^2$"), tmp_path / "report.png")
    assert png_size(tmp_path / "report.png")[0] == 1800
