from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import expect

from tests.daemon_process import DaemonProcess, edge_agent, running_daemon
from tests.page.conftest import KEY, Visiting

REFUSED = "401 (Unauthorized)"


@pytest.fixture
def locked_daemon(tmp_path: Path, tiny_model: Path) -> Iterator[DaemonProcess]:
    assert edge_agent(tmp_path, "models", "import", str(tiny_model), "--name", "tiny").returncode == 0
    with running_daemon(tmp_path, extra={"EDGE_AGENT_API_KEY": KEY}) as daemon:
        yield daemon


def test_page_asks_for_the_key_until_it_is_right_and_keeps_it_for_the_tab(
    locked_daemon: DaemonProcess, visit: Visiting
) -> None:
    visitor = visit(locked_daemon)
    visitor.expected.append(REFUSED)
    page = visitor.open()
    expect(page.locator("#key-dialog")).to_be_visible()
    expect(page.locator("#key-reason")).to_contain_text("needs an API key")
    page.keyboard.type("wrong")
    page.keyboard.press("Enter")
    expect(page.locator("#key-reason")).to_contain_text("is not valid")
    page.keyboard.press("Escape")
    expect(page.locator("#trouble-text")).to_contain_text("wants an API key")
    page.click("#trouble-action")
    page.keyboard.type(KEY)
    page.keyboard.press("Enter")
    expect(page.locator("#link[data-state=ok]")).to_be_visible()
    expect(page.locator("#trouble")).to_be_hidden()
    page.reload()
    expect(page.locator("#link[data-state=ok]")).to_be_visible()
    expect(page.locator("#key-dialog")).to_be_hidden()
    assert page.evaluate("[sessionStorage.length, Object.values(localStorage).join().includes('sesame')]") == [1, False]
    visitor.ask("Hello")
    expect(page.locator("article.assistant .text")).not_to_be_empty()
    page.keyboard.press("Escape")
    assert not any("sesame" in url for url in visitor.requests)


def test_key_is_kept_in_the_browser_on_wish_and_can_be_forgotten(locked_daemon: DaemonProcess, visit: Visiting) -> None:
    visitor = visit(locked_daemon)
    visitor.expected.append(REFUSED)
    page = visitor.open()
    page.fill("#key", KEY)
    page.check("#key-kept")
    page.click("#key-dialog button.primary")
    expect(page.locator("#link[data-state=ok]")).to_be_visible()
    other_tab = visitor.context.new_page()
    other_tab.goto(visitor.url)
    expect(other_tab.locator("#link[data-state=ok]")).to_be_visible()
    page.click("#key-button")
    page.click("#key-forget")
    page.reload()
    expect(page.locator("#key-dialog")).to_be_visible()


def test_dialog_that_was_cancelled_does_not_come_back_by_itself(locked_daemon: DaemonProcess, visit: Visiting) -> None:
    visitor = visit(locked_daemon)
    visitor.expected.append(REFUSED)
    page = visitor.open()
    expect(page.locator("#key-dialog")).to_be_visible()
    with page.expect_response("**/status", timeout=10_000) as answer:
        page.keyboard.press("Escape")
    assert answer.value.status == 401
    expect(page.locator("#trouble-action")).to_be_visible()
    expect(page.locator("#key-dialog")).to_be_hidden()
