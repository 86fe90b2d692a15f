from __future__ import annotations

import json
import time
from pathlib import Path

from playwright.sync_api import Page, Route, expect

from tests.daemon_process import DaemonProcess, edge_agent, running_daemon
from tests.page.conftest import PHONE, Visiting


def streamed(page: Page) -> int:
    """How long the last answer is so far."""
    return int(page.locator("article.assistant .text").last.evaluate("node => node.textContent.length"))


def wait_until_longer(page: Page, length: int) -> None:
    page.wait_for_function(
        "length => [...document.querySelectorAll('article.assistant .text')].at(-1)?.textContent.length > length",
        arg=length,
    )


def running_requests(daemon: DaemonProcess) -> int:
    return int(daemon.get("/status")[1]["runtime"]["running"])


def test_answer_streams_and_says_what_it_cost(daemon: DaemonProcess, visit: Visiting) -> None:
    visitor = visit(daemon)
    page = visitor.open_ready()
    page.click("#options-button")
    page.fill("#max-tokens", "40")
    page.click("#options button.primary")
    visitor.answer_without_end()
    visitor.ask("Hello")
    foot = page.locator("article.assistant footer")
    expect(foot).to_contain_text("40 tokens · cut off at the limit")
    expect(foot).to_contain_text("tokens/s · first token after ")
    expect(page.locator("article.user .text")).to_have_text("Hello")
    assert streamed(page) > 0
    expect(page.locator("#send")).to_have_attribute("aria-label", "Send")
    assert page.locator("#said").text_content(), "a screen reader is told the answer once, at its end"


def test_stopping_ends_the_request_and_keeps_what_came(daemon: DaemonProcess, visit: Visiting) -> None:
    visitor = visit(daemon)
    page = visitor.open_ready()
    visitor.answer_without_end()
    visitor.ask("Go on for ever")
    wait_until_longer(page, 20)
    page.click("#send[aria-label=Stop]")
    expect(page.locator("article.assistant footer")).to_contain_text("stopped · ")
    length = streamed(page)
    give_up = time.monotonic() + 5
    while running_requests(daemon):
        assert time.monotonic() < give_up, "the request still runs"
    assert streamed(page) == length >= 20


def test_reload_keeps_the_conversation_and_the_options(daemon: DaemonProcess, visit: Visiting) -> None:
    visitor = visit(daemon)
    page = visitor.open_ready()
    page.click("#options-button")
    page.fill("#system", "Be brief.")
    page.fill("#max-tokens", "12")
    page.locator("#temperature").fill("0.5")
    page.keyboard.press("Escape")
    visitor.answer_without_end()
    visitor.ask("Remember me")
    expect(page.locator("article.assistant footer")).to_contain_text("12 tokens")
    before = page.locator("#messages").inner_text()
    page.reload()
    expect(page.locator("article.assistant footer")).to_contain_text("12 tokens")
    assert page.locator("#messages").inner_text() == before
    assert page.input_value("#system") == "Be brief."
    assert page.input_value("#max-tokens") == "12"
    assert page.input_value("#temperature") == "0.5"


def test_answer_cut_off_by_leaving_the_page_is_there_and_says_so(daemon: DaemonProcess, visit: Visiting) -> None:
    visitor = visit(daemon)
    page = visitor.open_ready()
    visitor.answer_without_end()
    visitor.ask("Go on")
    wait_until_longer(page, 10)
    page.reload()
    expect(page.locator("article.assistant footer")).to_contain_text("interrupted")
    assert streamed(page) > 10


def test_request_carries_the_options_and_the_conversation(daemon: DaemonProcess, visit: Visiting) -> None:
    visitor = visit(daemon)
    page = visitor.open_ready()
    page.click("#options-button")
    page.fill("#system", "Be brief.")
    page.fill("#max-tokens", "3")
    page.locator("#temperature").fill("0")
    page.keyboard.press("Escape")
    visitor.answer_without_end()
    visitor.ask("One")
    expect(page.locator("article.assistant footer")).to_contain_text("3 tokens")
    with page.expect_request("**/v1/chat/completions") as asked:
        visitor.ask("Two")
    body = json.loads(asked.value.post_data or "")
    roles = [message["role"] for message in body["messages"]]
    assert roles[0] == "system"
    assert [message["content"] for message in body["messages"] if message["role"] == "user"] == ["One", "Two"]
    assert (body["temperature"], body["max_tokens"], body["model"]) == (0, 3, "tiny")


def test_answer_from_a_collection_names_its_sources(daemon: DaemonProcess, visit: Visiting) -> None:
    visitor = visit(daemon)
    page = visitor.open_ready()
    page.click("#options-button")
    page.fill("#max-tokens", "5")
    page.keyboard.press("Escape")
    page.select_option("#sources", "facts")
    visitor.ask("How do I restart the router?")
    sources = page.locator("article.assistant details.sources")
    expect(sources).to_contain_text("2 sources")
    sources.locator("summary").click()
    expect(sources.locator("li").first).to_contain_text("(")


def test_error_of_the_api_is_shown_with_its_hint(daemon: DaemonProcess, visit: Visiting) -> None:
    visitor = visit(daemon)
    visitor.expected.append("400 (Bad Request)")
    page = visitor.open_ready()
    visitor.ask("word " * 9000)
    error = page.locator("article.assistant .error")
    expect(error).to_contain_text("context")
    expect(page.locator("#send")).to_have_attribute("aria-label", "Send")
    expect(page.locator("article.assistant footer button", has_text="Try again")).to_be_visible()


def test_cleared_conversation_can_be_brought_back(daemon: DaemonProcess, visit: Visiting) -> None:
    visitor = visit(daemon)
    visitor.remember({"messages": [{"role": "user", "content": "Keep me"}]})
    page = visitor.open_ready()
    page.click("#clear")
    expect(page.locator("article")).to_have_count(0)
    page.click("#note button")
    expect(page.locator("article.user .text")).to_have_text("Keep me")
    page.click("#clear")
    page.reload()
    expect(page.locator(".welcome")).to_be_visible()


def test_enter_sends_with_a_keyboard_and_breaks_the_line_on_a_phone(daemon: DaemonProcess, visit: Visiting) -> None:
    phone = visit(daemon, viewport=PHONE, has_touch=True, is_mobile=True)
    page = phone.open_ready()
    page.tap("#prompt")
    page.keyboard.type("a\nb")
    assert page.input_value("#prompt") == "a\nb"
    desk = visit(daemon).open_ready()
    desk.fill("#prompt", "a")
    desk.press("#prompt", "Shift+Enter")
    desk.keyboard.type("b")
    assert desk.input_value("#prompt") == "a\nb"
    desk.press("#prompt", "Enter")
    expect(desk.locator("article.user .text")).to_have_text("a\nb")
    desk.keyboard.press("Escape")


def test_without_a_model_the_page_says_what_to_type_and_notices_when_it_is_there(
    daemon: DaemonProcess, visit: Visiting
) -> None:
    visitor = visit(daemon)

    def without_models(route: Route) -> None:
        answer = route.fetch()
        body = answer.json()
        body["runtime"]["models"] = []
        route.fulfill(response=answer, json=body)

    visitor.page.route("**/status", without_models)
    page = visitor.open_ready()
    expect(page.locator(".welcome code")).to_contain_text("edge-agent models import FILE.gguf")
    page.unroute("**/status")
    expect(page.locator(".starters button").first).to_be_visible()
    expect(page.locator("#model")).to_have_value("tiny")


def test_lost_connection_is_told_and_mends_itself(tmp_path: Path, tiny_model: Path, visit: Visiting) -> None:
    assert edge_agent(tmp_path, "models", "import", str(tiny_model), "--name", "tiny").returncode == 0
    with running_daemon(tmp_path) as first:
        port = first.url.rpartition(":")[2]
        visitor = visit(first)
        visitor.expected += ["ERR_CONNECTION_REFUSED", "ERR_CONNECTION_RESET", "ERR_INCOMPLETE_CHUNKED", "ERR_EMPTY"]
        page = visitor.open_ready()
        visitor.answer_without_end()
        visitor.ask("Go on for ever")
        wait_until_longer(page, 10)
        first.process.kill()
        expect(page.locator("article.assistant .error")).to_be_visible()
        expect(page.locator("#trouble")).to_contain_text("does not answer")
        expect(page.locator("#link-text")).to_have_text("no connection")
    with running_daemon(tmp_path, ["--port", port]):
        expect(page.locator("#link[data-state=ok]")).to_be_visible()
        expect(page.locator("#trouble")).to_be_hidden()
        page.click("article.assistant footer button:has-text('Try again')")
        wait_until_longer(page, 10)
        expect(page.locator("article.user")).to_have_count(1)
        page.keyboard.press("Escape")
        expect(page.locator("article.assistant footer")).to_contain_text("stopped")
