from __future__ import annotations

from playwright.sync_api import expect

from tests.daemon_process import DaemonProcess
from tests.page.conftest import Visiting


def test_passages_are_found_by_meaning_and_by_words(daemon: DaemonProcess, visit: Visiting) -> None:
    page = visit(daemon).open_ready("search")
    expect(page.locator("#search-state")).to_have_text("facts: 2 passages.")
    page.fill("#query", "restart the router")
    page.press("#query", "Enter")
    expect(page.locator("#hits li")).to_have_count(2)
    expect(page.locator("#search-state")).to_contain_text("2 passages in ")
    page.select_option("#mode", "text")
    page.press("#query", "Enter")
    expect(page.locator("#hits li")).to_have_count(1)
    expect(page.locator("#hits")).to_contain_text("Hold the reset button")
    expect(page.locator("#hits .tag")).to_have_text("topic: wifi")


def test_question_goes_to_the_chat_with_its_sources(daemon: DaemonProcess, visit: Visiting) -> None:
    page = visit(daemon).open_ready("search")
    page.fill("#query", "router?")
    page.click("#search-form button")
    page.click("#search-ask")
    expect(page.locator("#prompt")).to_have_value("router?")
    expect(page.locator("#sources")).to_have_value("facts")
    expect(page.locator("#prompt")).to_be_focused()


def test_error_of_a_search_is_shown(daemon: DaemonProcess, visit: Visiting) -> None:
    visitor = visit(daemon)
    visitor.expected.append("400 (Bad Request)")
    page = visitor.open_ready("search")
    page.fill("#query", "a" * 40_000)
    page.click("#search-form button")
    expect(page.locator("#search-trouble")).to_contain_text("`query` has 40,000 characters")
