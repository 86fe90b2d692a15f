"""The markdown of answers as elements: a table of texts, parsed in the browser itself."""

from __future__ import annotations

import pytest
from playwright.sync_api import Page

from tests.daemon_process import DaemonProcess
from tests.page.conftest import Visiting

OUTLINE = """async (text) => {
  const { showMarkdown } = await import("/page/markdown.js");
  const outline = (node) => node.nodeType === Node.TEXT_NODE ? JSON.stringify(node.data)
    : `${node.localName}(${[...node.childNodes].map(outline).join(" ")})`;
  const box = document.createElement("div");
  showMarkdown(box, text);
  for (const button of box.querySelectorAll("figcaption button")) button.remove();
  return [...box.childNodes].map(outline).join(" ");
}"""

CASES = [
    ("plain", 'p("plain")'),
    ("one\ntwo\n\nthree", 'p("one\\ntwo") p("three")'),
    ("a **b** *c* `d*e`", 'p("a " strong("b") " " em("c") " " code("d*e"))'),
    ("2 * 3 * 4 and ** no **", 'p("2 * 3 * 4 and " strong(" no "))'),
    ("# Title\ntext", 'h4("Title") p("text")'),
    ("#no title", 'p("#no title")'),
    ("- a\n- b\n  - c\n- d", 'ul(li("a") li("b" ul(li("c"))) li("d"))'),
    ("1. a\n\n2. b", 'ol(li("a") li("b"))'),
    ("3) a", 'ol(li("a"))'),
    ("- a\n  more", 'ul(li("a\\nmore"))'),
    ("text\n- a", 'p("text") ul(li("a"))'),
    ("> a\n> b", 'blockquote("a\\nb")'),
    ("```py\na\n\n# b\n```\nc", 'figure(figcaption(span("py")) pre(code("a\\n\\n# b"))) p("c")'),
    ("```\nopen", 'figure(figcaption(span("text")) pre(code("open")))'),
    ("---\na", 'hr() p("a")'),
    ("a < b & c > d", 'p("a < b & c > d")'),
]


@pytest.fixture
def page(daemon: DaemonProcess, visit: Visiting) -> Page:
    return visit(daemon).open_ready()


def test_texts_become_elements(page: Page) -> None:
    assert [(text, page.evaluate(OUTLINE, text)) for text, _ in CASES] == CASES


def test_text_that_grows_letter_by_letter_ends_the_same(page: Page) -> None:
    different = page.evaluate(
        """async (texts) => {
          const { showMarkdown } = await import("/page/markdown.js");
          return texts.filter((text) => {
            const [growing, whole] = [document.createElement("div"), document.createElement("div")];
            for (let length = 0; length <= text.length; length += 1) showMarkdown(growing, text.slice(0, length));
            showMarkdown(whole, text);
            return !growing.isEqualNode(whole);
          });
        }""",
        [text for text, _ in CASES],
    )
    assert different == []


def test_blocks_that_are_complete_are_not_drawn_again(page: Page) -> None:
    kept = page.evaluate(
        """async () => {
          const { showMarkdown } = await import("/page/markdown.js");
          const box = document.createElement("div");
          showMarkdown(box, "one\\n\\ntwo");
          const first = box.firstChild;
          showMarkdown(box, "one\\n\\ntwo and more");
          return [box.firstChild === first, box.lastChild.textContent];
        }"""
    )
    assert kept == [True, "two and more"]


@pytest.mark.parametrize(
    "hostile", ["*" * 50_000, "`" * 50_000, "**a" * 20_000, "- " * 20_000, "> " * 20_000, "# " * 9]
)
def test_nothing_takes_more_than_linear_time(page: Page, hostile: str) -> None:
    """A pattern that backtracks would take minutes for these."""
    page.set_default_timeout(5_000)
    parse = "async (text) => (await import('/page/markdown.js')).parse(text).length"
    assert (
        page.evaluate(
            f"(text) => Promise.race([({parse})(text), new Promise((_, no) => setTimeout(no, 4000))])", hostile
        )
        >= 1
    )
