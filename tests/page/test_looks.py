"""What everybody must be able to see and reach: WCAG AA contrast, a narrow phone, the keyboard alone, a small page."""

from __future__ import annotations

from typing import Any

import pytest
from playwright.sync_api import Page, expect

from tests.daemon_process import DaemonProcess
from tests.page.conftest import DESK, PHONE, Visit, Visiting

VIEWS = ("chat", "listen", "search", "board")
TALK: dict[str, Any] = {
    "messages": [
        {"role": "user", "content": "What can you do, with_a_word_that_is_very_long_" + "o" * 80 + "?"},
        {
            "role": "assistant",
            "content": "# Much\n\nIt **can** *talk*:\n\n- `one`\n  1. deeper\n- two\n\n> said\n\n"
            "```python\nprint('a line of code that is longer than any phone is wide, by far and away')\n```\n",
            "about": "24.1 tokens/s · first token after 0.31 s · 118 tokens",
            "retrieved": [{"id": "1", "score": 0.5}],
        },
        {"role": "user", "content": "And now?"},
        {"role": "assistant", "content": "", "error": "The queue is full. Send it again in 3 s."},
    ]
}

CONTRASTS = """() => {
  const parse = (text) => {
    const numbers = text.match(/[\\d.]+(?:e-?\\d+)?/g).map(Number);
    const scale = text.startsWith("color(") ? 255 : 1;
    return [numbers[0] * scale, numbers[1] * scale, numbers[2] * scale, numbers[3] ?? 1];
  };
  const over = ([r, g, b, a], [x, y, z]) => [r * a + x * (1 - a), g * a + y * (1 - a), b * a + z * (1 - a)];
  const light = (color) => {
    const [r, g, b] = color.map((part) => {
      const one = part / 255;
      return one <= 0.04045 ? one / 12.92 : ((one + 0.055) / 1.055) ** 2.4;
    });
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  const ratio = (one, other) => {
    const [high, low] = [light(one), light(other)].sort((a, b) => b - a);
    return (high + 0.05) / (low + 0.05);
  };
  const ground = (node) => {
    const chain = [];
    for (let at = node; at; at = at.parentElement) chain.push(parse(getComputedStyle(at).backgroundColor));
    return chain.reverse().reduce((below, color) => over(color, below), [255, 255, 255]);
  };
  const seen = (node) => node.checkVisibility({ opacityProperty: true, visibilityProperty: true }) &&
    node.getBoundingClientRect().width > 1 && !node.closest(".sr, :disabled, [aria-busy='true'] button");
  const found = [];
  const check = (node, text, style, least) => {
    const behind = ground(node);
    found.push({ text: text.trim().slice(0, 40), least, ratio: ratio(over(parse(style.color), behind), behind) });
  };
  const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  while (walker.nextNode()) {
    const node = walker.currentNode.parentElement;
    if (!walker.currentNode.data.trim() || !seen(node) || node.closest("option, noscript, script")) continue;
    const style = getComputedStyle(node);
    const size = parseFloat(style.fontSize);
    const large = size >= 24 || (size >= 18.66 && Number(style.fontWeight) >= 700);
    check(node, walker.currentNode.data, style, large ? 3 : 4.5);
  }
  for (const node of document.querySelectorAll("input, textarea, select")) {
    if (!seen(node) || ["checkbox", "radio", "range"].includes(node.type)) continue;
    check(node, `in ${node.id}`, getComputedStyle(node), 4.5);
    if (node.placeholder) check(node, `placeholder of ${node.id}`, getComputedStyle(node, "::placeholder"), 4.5);
    const edge = getComputedStyle(node).borderTopColor;
    const bare = node.matches(".plain, .box textarea");
    const around = ground(node.parentElement);
    if (!bare) found.push({ text: `edge of ${node.id}`, least: 3, ratio: ratio(over(parse(edge), around), around) });
  }
  for (const node of document.querySelectorAll("button.icon svg, .views svg, .dot")) {
    if (!seen(node)) continue;
    const style = getComputedStyle(node);
    const color = node.matches(".dot") ? style.backgroundColor : style.stroke;
    const behind = ground(node.parentElement);
    const text = `sign in ${node.parentElement.id || node.parentElement.hash}`;
    found.push({ text, least: 3, ratio: ratio(over(parse(color), behind), behind) });
  }
  return found;
}"""


def complaints(page: Page) -> list[str]:
    found = page.evaluate(CONTRASTS)
    assert len(found) > 5
    return [f"{one['text']!r}: {one['ratio']:.2f}" for one in found if one["ratio"] < one["least"]]


def shown(visitor: Visit, view: str) -> Page:
    page = visitor.open_ready(view)
    if view == "search":
        page.fill("#query", "router")
        page.click("#search-form button")
        page.wait_for_selector("#hits li")
    return page


@pytest.mark.parametrize("viewport", [DESK, PHONE], ids=["desk", "phone"])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_contrast_is_enough_in_both_themes(
    daemon: DaemonProcess, visit: Visiting, scheme: str, viewport: dict[str, int]
) -> None:
    visitor = visit(daemon, color_scheme=scheme, viewport=viewport)
    visitor.remember(TALK)
    for view in VIEWS:
        page = shown(visitor, view)
        assert complaints(page) == [], view
    page.goto(f"{visitor.url}/#chat")
    for opener in ("#options-button", "#key-button"):
        page.click(opener)
        assert complaints(page) == [], opener
        page.keyboard.press("Escape")


def test_the_measure_itself_finds_gray_on_gray(daemon: DaemonProcess, visit: Visiting) -> None:
    page = visit(daemon).open_ready()
    page.evaluate("document.querySelector('.welcome p').style.color = 'rgb(170, 170, 170)'")
    (complaint,) = complaints(page)
    assert complaint.startswith("'The model runs right here.")


def test_theme_can_be_chosen_and_stays(daemon: DaemonProcess, visit: Visiting) -> None:
    page = visit(daemon, color_scheme="dark").open_ready()
    ground = "getComputedStyle(document.body).backgroundColor"
    dark = page.evaluate(ground)
    page.click("#theme-button")
    expect(page.locator("#theme-button")).to_have_attribute("aria-label", "Theme: light. Change it")
    light = page.evaluate(ground)
    assert light != dark
    page.reload()
    assert page.evaluate(ground) == light
    page.click("#theme-button")
    assert page.evaluate(ground) == dark


@pytest.mark.parametrize("width", [320, 360, 600, 768, 1056, 1280])
def test_nothing_is_wider_than_the_window(daemon: DaemonProcess, visit: Visiting, width: int) -> None:
    visitor = visit(daemon, viewport={"width": width, "height": 700})
    visitor.remember(TALK)
    for view in VIEWS:
        page = shown(visitor, view)
        wide = page.evaluate(
            """() => [...document.querySelectorAll("body *")].filter((node) =>
                 node.checkVisibility() && !node.closest("pre, .sr, .skip, svg, .views, #link-text, #board-name") &&
                 (node.getBoundingClientRect().right > innerWidth + 1 || node.getBoundingClientRect().left < -1))
               .map((node) => node.outerHTML.slice(0, 120))"""
        )
        assert wide == [], view
        assert page.evaluate("document.documentElement.scrollWidth") <= width


def test_everything_can_be_done_with_the_keyboard(daemon: DaemonProcess, visit: Visiting) -> None:
    visitor = visit(daemon)
    page = visitor.open_ready()
    visitor.answer_without_end()

    def tab_to(selector: str) -> None:
        for _ in range(60):
            page.keyboard.press("Tab")
            outline = page.evaluate(
                """() => {
                  const at = document.activeElement;
                  const shown = at.closest(".box textarea") ? at.closest(".box") : at;
                  const style = getComputedStyle(shown);
                  const seen = style.outlineStyle !== "none" || style.boxShadow !== "none";
                  return [at.matches("body"), seen, at.outerHTML.slice(0, 80)];
                }"""
            )
            assert outline[0] or outline[1], f"it does not show where the focus is: {outline[2]}"
            if page.evaluate("selector => document.activeElement.matches(selector)", selector):
                return
        raise AssertionError(f"Tab does not lead to {selector}")

    tab_to(".skip")
    page.keyboard.press("Enter")
    assert page.evaluate("document.activeElement.id") == "main"
    tab_to("#prompt")
    page.keyboard.type("Hello")
    page.keyboard.press("Enter")
    expect(page.locator("article.assistant .text")).not_to_be_empty()
    page.keyboard.press("Escape")
    expect(page.locator("article.assistant footer")).to_contain_text("stopped")
    tab_to("#options-button")
    page.keyboard.press("Enter")
    expect(page.locator("#options")).to_be_visible()
    page.keyboard.press("Escape")
    expect(page.locator("#options")).to_be_hidden()
    assert page.evaluate("document.activeElement.id") == "options-button"
    tab_to("a[href='#search']")
    page.keyboard.press("Enter")
    tab_to("#query")
    page.keyboard.type("router")
    page.keyboard.press("Enter")
    expect(page.locator("#hits li").first).to_be_visible()
    tab_to("#models .unload:not([hidden])")
    page.keyboard.press("Enter")
    expect(page.locator("#models .state", has_text="unloaded").first).to_be_visible()
    expect(page.locator("#models .load:focus")).to_be_visible()


def test_every_control_has_a_name(daemon: DaemonProcess, visit: Visiting) -> None:
    visitor = visit(daemon)
    visitor.remember(TALK)
    for view in VIEWS:
        page = shown(visitor, view)
        for line in page.locator("body").aria_snapshot().splitlines():
            role = line.strip().removeprefix("- ").split(" ")[0].rstrip(":")
            if role in ("button", "link", "textbox", "combobox", "slider", "checkbox", "radio", "img", "meter"):
                assert '"' in line, f"{view}: {line.strip()}"


def test_page_is_small(daemon: DaemonProcess, visit: Visiting) -> None:
    visitor = visit(daemon)
    sizes: dict[str, int] = {}
    visitor.page.on("response", lambda answer: sizes.update({answer.url: len(answer.body())}))
    visitor.open_ready()
    page_parts = {url: size for url, size in sizes.items() if "/page/" in url or url == f"{visitor.url}/"}
    assert len(page_parts) > 10
    assert sum(page_parts.values()) <= 100_000
