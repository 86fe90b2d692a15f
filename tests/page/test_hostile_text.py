"""Whatever a model, a passage or a name says stays text."""

from __future__ import annotations

import json
from typing import Any

import pytest
from playwright.sync_api import Route, expect

from tests.daemon_process import DaemonProcess
from tests.page.conftest import Visiting

HOSTILE = [
    "<img src=x onerror=\"document.title='owned'\">",
    "<script>document.title='owned'</script>",
    "```html\n<img src=x onerror=\"document.title='owned'\">\n```",
    "- <svg onload=\"document.title='owned'\">\n  - **<iframe src=javascript:alert(1)>**",
    "# <style>*{display:none}</style>\n> `<b onclick=x>`",
    "[click](javascript:document.title='owned') ![x](http://evil.example/x.png)",
    "</div></article><a href=http://evil.example>",
]


def answering(text: str) -> Any:
    """A model that says this, in pieces that cut through everything."""

    def answer(route: Route) -> None:
        chunks = [{"choices": [{"index": 0, "delta": {"content": piece}, "finish_reason": None}]} for piece in text]
        chunks.append({"choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]})
        body = "".join(f"data: {json.dumps(chunk)}\n\n" for chunk in chunks) + "data: [DONE]\n\n"
        route.fulfill(content_type="text/event-stream", body=body)

    return answer


@pytest.mark.parametrize("text", HOSTILE)
def test_answer_of_a_model_is_inert(daemon: DaemonProcess, visit: Visiting, text: str) -> None:
    visitor = visit(daemon)
    page = visitor.page
    page.route("**/v1/chat/completions", answering(text))
    visitor.open_ready()
    visitor.ask("Say it")
    expect(page.locator("article.assistant footer button").first).to_be_visible()
    for _ in range(2):
        message = page.locator("article.assistant .text")
        shown = message.inner_text()
        for part in ("onerror", "onload", "script>", "iframe", "style>", "javascript:", "evil.example"):
            assert (part in text) == (part in shown)
        assert message.locator("img, script, svg, iframe, style, a").count() == 0
        assert page.title() == "edge-agent"
        page.reload()
    page.wait_for_selector("#link[data-state=ok]")


def test_message_of_the_user_is_inert(daemon: DaemonProcess, visit: Visiting) -> None:
    visitor = visit(daemon)
    page = visitor.open_ready()
    visitor.ask(HOSTILE[0])
    expect(page.locator("article.user .text")).to_have_text(HOSTILE[0])
    page.keyboard.press("Escape")
    assert page.title() == "edge-agent"


def test_passage_is_inert(daemon: DaemonProcess, visit: Visiting) -> None:
    page = visit(daemon).open_ready("search")
    page.select_option("#mode", "text")
    page.fill("#query", "lamp")
    page.click("#search-form button")
    expect(page.locator("#hits li")).to_contain_text("<img src=x onerror=")
    assert page.locator("#hits img").count() == 0
    assert page.title() == "edge-agent"


def test_browser_refuses_markup_from_strings_and_other_sites(daemon: DaemonProcess, visit: Visiting) -> None:
    visitor = visit(daemon)
    visitor.expected += ["Content Security Policy", "Trusted", "violates"]
    page = visitor.open_ready()
    refused = page.evaluate(
        """async () => {
          const tries = [
            () => { document.body.innerHTML = "<b>x</b>"; },
            () => { document.createElement("script").text = "document.title = 'owned'"; },
            () => fetch("http://evil.example/"),
          ];
          const results = await Promise.allSettled(tries.map(async (one) => one()));
          return results.map(({ status }) => status);
        }"""
    )
    assert refused == ["rejected"] * 3
    assert not [one for one in visitor.complaints if "outside" not in one]
    visitor.complaints.clear()


def test_stored_conversation_that_is_not_ours_is_left_out(daemon: DaemonProcess, visit: Visiting) -> None:
    visitor = visit(daemon)
    odd: dict[str, Any] = {"messages": [{"role": "system"}, 7, None, {"role": "user", "content": "mine"}], "system": 3}
    visitor.remember(odd)
    page = visitor.open_ready()
    expect(page.locator("article")).to_have_count(1)
    assert page.input_value("#system") == ""
