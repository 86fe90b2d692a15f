from __future__ import annotations

from collections.abc import Callable
from typing import Any

from playwright.sync_api import Route, expect

from tests.daemon_process import DaemonProcess
from tests.page.conftest import PHONE, Visiting


def changed(sections: dict[str, Any]) -> Callable[[Route], None]:
    """What the daemon says of itself, but for these sections."""

    def answer(route: Route) -> None:
        said = route.fetch()
        route.fulfill(response=said, json={**said.json(), **sections})

    return answer


def test_models_are_loaded_and_unloaded(daemon: DaemonProcess, visit: Visiting) -> None:
    page = visit(daemon).open_ready()
    model = page.locator("#models li", has_text="tiny")
    if model.locator(".unload").is_visible():
        model.locator(".unload").click()
    expect(model.locator(".state")).to_have_text("unloaded")
    model.locator(".load").click()
    expect(model.locator(".state")).to_have_text("ready")
    expect(model.locator("p")).to_contain_text("tokens of context")
    expect(page.locator("#ledger-legend")).to_contain_text("tiny")
    label = page.locator("#ledger").get_attribute("aria-label") or ""
    assert "tiny" in label
    assert "the budget is" in label


def test_the_focus_stays_with_a_model_while_it_is_unloaded(daemon: DaemonProcess, visit: Visiting) -> None:
    state = "ready"

    def answer(route: Route) -> None:
        said = route.fetch()
        status = said.json()
        for one in status["runtime"]["models"]:
            one["state"] = state
        route.fulfill(response=said, json=status)

    visitor = visit(daemon)
    visitor.page.route("**/status", answer)
    page = visitor.open_ready()
    model = page.locator("#models li", has_text="tiny")
    model.locator(".unload").focus()
    for state, focused in (("unloading", ".unload:focus"), ("unloaded", ".load:focus"), ("loading", ".unload:focus")):
        expect(model.locator(".state")).to_have_text(state)
        expect(model.locator(focused)).to_be_visible()


def test_rolling_back_asks_first_and_shows_what_the_device_says(daemon: DaemonProcess, visit: Visiting) -> None:
    visitor = visit(daemon)
    visitor.expected.append("Failed to load resource")
    visitor.page.route("**/status", changed({"rollback": {"tiny": "0.9"}}))
    page = visitor.open_ready()
    rollback = page.locator("#models li", has_text="tiny").locator(".rollback")
    rollback.click()
    expect(page.locator("#sure-title")).to_have_text("Roll back tiny?")
    expect(page.locator("#sure-text")).to_contain_text("Version 0.9 is served again")
    page.click("#sure button:has-text('Cancel')")
    expect(page.locator("#models-trouble")).to_be_hidden()
    rollback.click()
    page.click("#sure-yes")
    expect(page.locator("#models-trouble")).to_contain_text("tiny")


def test_a_model_without_an_earlier_version_is_not_rolled_back(daemon: DaemonProcess, visit: Visiting) -> None:
    page = visit(daemon).open_ready()
    model = page.locator("#models li", has_text="tiny")
    expect(model.locator("button:visible").first).to_be_visible()
    expect(model.locator(".rollback")).to_be_hidden()


def test_updates_are_told_and_why_they_wait(daemon: DaemonProcess, visit: Visiting) -> None:
    visitor = visit(daemon)
    under_way = ["tiny 2.0: waiting: window opens 02:00", "new-one (latest): fetching 41%"]
    visitor.page.route("**/status", changed({"updates": {"lines": under_way}}))
    page = visitor.open_ready()
    expect(page.locator("#updates")).to_have_text("; ".join(under_way))
    visitor.page.unroute("**/status")
    expect(page.locator("#updates")).to_have_text("")


def test_speed_is_plotted_while_an_answer_comes(daemon: DaemonProcess, visit: Visiting) -> None:
    visitor = visit(daemon)
    page = visitor.open_ready()
    visitor.answer_without_end()
    visitor.ask("Go on")
    speed = page.locator(".chart", has_text="Speed")
    page.wait_for_function("() => parseFloat(document.querySelector('.chart strong').textContent) > 0")
    assert "tokens/s; in the last minutes from 0.0 tokens/s to" in (
        speed.locator("svg").get_attribute("aria-label") or ""
    )
    assert (speed.locator("path.line").get_attribute("d") or "").count("L") >= 1
    page.keyboard.press("Escape")


def test_heat_and_power_are_shown_where_the_device_reports_them(daemon: DaemonProcess, visit: Visiting) -> None:
    visitor = visit(daemon)
    page = visitor.open_ready()
    expect(page.locator(".chart", has_text="Temperature")).to_be_hidden()

    def warm(route: Route) -> None:
        answer = route.fetch()
        status = answer.json()
        status["board"] |= {"temperature_celsius": 61.5, "power_watts": 6.4}
        route.fulfill(response=answer, json=status)

    page.route("**/status", warm)
    expect(page.locator(".chart", has_text="Temperature").locator("strong")).to_have_text("61.5 °C")
    expect(page.locator(".chart", has_text="Power").locator("strong")).to_have_text("6.4 W")


def test_nobody_asks_while_the_page_is_hidden_and_seldom_beside_the_board(
    daemon: DaemonProcess, visit: Visiting
) -> None:
    visitor = visit(daemon, viewport=PHONE)
    page = visitor.page
    page.clock.install()
    visitor.open_ready()

    def asked_within(seconds: int) -> int:
        before = sum(url.endswith("/status") for url in visitor.requests)
        for _ in range(seconds):
            page.clock.run_for(1000)
            page.evaluate("fetch('/health')")  # by when it is back, the answer to an earlier question is as well
        return sum(url.endswith("/status") for url in visitor.requests) - before

    hide = "Object.defineProperty(document, 'hidden', {value: true, configurable: true})"
    tell = "document.dispatchEvent(new Event('visibilitychange'))"
    page.evaluate(f"{hide}; {tell}")
    asked_within(1)
    assert asked_within(60) == 0
    page.evaluate(f"delete document.hidden; {tell}")
    assert 10 <= asked_within(60) <= 13
    page.click("a[href='#board']")
    assert 25 <= asked_within(60) <= 41
