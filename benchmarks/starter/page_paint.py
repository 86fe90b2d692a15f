"""How soon the web page is there: `python -m benchmarks.starter.page_paint [URL] [--runs N]`.

Opens the page of a running daemon in Debian's Chromium, each time in a fresh context without a cache, and reports
what the browser itself measured: the first paint, the first paint with content, and when the device's first word
(`/status`) is on the page. Times are milliseconds since the navigation began. Prints one JSON line last.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
from collections.abc import Sequence

from playwright.sync_api import Browser, sync_playwright

CHROMIUM = "/usr/bin/chromium"
FIGURES = ("first paint", "first contentful paint", "connected", "bytes on the wire", "bytes")
_PAINTS = "performance.getEntriesByType('paint').map(({ name, startTime }) => [name, startTime])"
_SIZES = """performance.getEntries().filter(({ name }) => name === location.href || name.includes("/page/"))
  .map(({ encodedBodySize, decodedBodySize }) => [encodedBodySize ?? 0, decodedBodySize ?? 0])"""


def measure(browser: Browser, url: str) -> dict[str, float]:
    """One visit, with nothing cached."""
    context = browser.new_context(viewport={"width": 1280, "height": 800})
    try:
        page = context.new_page()
        page.goto(url)
        page.wait_for_selector("#link[data-state]")
        connected = page.evaluate("performance.now()")
        page.wait_for_function("performance.getEntriesByName('first-contentful-paint').length > 0")
        paints = dict(page.evaluate(_PAINTS))
        sizes = page.evaluate(_SIZES)
    finally:
        context.close()
    return {
        "first paint": paints["first-paint"],
        "first contentful paint": paints["first-contentful-paint"],
        "connected": connected,
        "bytes on the wire": sum(encoded for encoded, _ in sizes),
        "bytes": sum(decoded for _, decoded in sizes),
    }


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.starter.page_paint", description=__doc__.partition("\n")[0]
    )
    parser.add_argument("url", nargs="?", default="http://127.0.0.1:8484/")
    parser.add_argument("--runs", type=int, default=15)
    options = parser.parse_args(arguments)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--disable-gpu"])
        measure(browser, options.url)  # the browser's own first page is not ours
        runs = [measure(browser, options.url) for _ in range(options.runs)]
        browser.close()
    result = {}
    print(f"{'':24}{'median':>10}{'worst':>10}")
    for name in FIGURES:
        values = [run[name] for run in runs]
        result[name.replace(" ", "_")] = {"median": round(statistics.median(values), 1), "worst": round(max(values), 1)}
        print(f"{name:24}{statistics.median(values):10.0f}{max(values):10.0f}")
    print(json.dumps({"page": options.url, "runs": options.runs, **result}))
    return 0


if __name__ == "__main__":
    sys.exit(main())
