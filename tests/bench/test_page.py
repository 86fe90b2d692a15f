from __future__ import annotations

import re
from html.parser import HTMLParser

import msgspec

from agent.bench.page import page
from agent.bench.report import Pairing, Point, Report
from tests.bench.test_report import FULL


class Tags(HTMLParser):
    """Checks that every tag is closed in order, and keeps the attributes."""

    VOID = frozenset({"meta", "path", "rect", "circle"})

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.attributes: list[tuple[str, str | None]] = []
        self.texts: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.attributes += attrs
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        if tag not in self.VOID:
            assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.texts.append(data)


def read(report: Report) -> tuple[str, Tags]:
    text, tags = page(report), Tags()
    tags.feed(text)
    assert tags.open == []
    return text, tags


def test_the_page_asks_nobody_for_anything() -> None:
    text, tags = read(FULL)
    assert not [name for name, _ in tags.attributes if name in ("src", "href", "srcset", "action")]
    assert not re.search(r"url\(|@import|<script|<link", text)
    assert "default-src 'none'" in text
    assert "prefers-color-scheme: dark" in text


def test_it_shows_every_kind_of_plot_and_every_row() -> None:
    report = msgspec.structs.replace(
        FULL, points=[Point(at_s=60.0 * n, tokens_per_s=9.0, celsius=50.0) for n in (0, 1)]
    )
    text, tags = read(report)
    captions = re.findall(r"<figcaption>(.*?)</figcaption>", text)
    assert len(captions) == 5  # all but those of prompts and of requests together, which this report does not have
    assert text.count("<svg") == 5
    assert {"generate (128 tokens of prompt)", "9.00 tokens/s"} <= set(tags.texts)
    assert not re.search(r"\b(nan|inf)\b", text)


def test_an_empty_report_is_a_page_too() -> None:
    assert "<svg" not in read(Report(began="", url="x"))[0]


def test_names_from_a_server_stay_text() -> None:
    evil = '</title><script>alert("1")</script>'
    pairing = Pairing(measure=evil, unit=evil, ours=[1.0], theirs=[1.0], ratios=[1.0], low=1.0, high=1.0)
    report = Report(began=evil, url=evil, board={"model": evil}, against_url=evil, problems=[evil], pairings=[pairing])
    assert "<script" not in read(report)[0]
