"""The real page of a real daemon in a real browser: Debian's Chromium, with a file for a microphone."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import wave
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from playwright.sync_api import Browser, BrowserContext, Page, Request, Route, sync_playwright

from tests.conftest import SHARED
from tests.daemon_process import ROOT, DaemonProcess, edge_agent, environment_for, running_daemon

PHONE = {"width": 360, "height": 740}
DESK = {"width": 1280, "height": 800}
FACTS = (
    "id,body,topic\n1,Hold the reset button for ten seconds to restart the router.,wifi\n"
    "2,A lamp <img src=x onerror=\"document.title='owned'\"> and **a** light,light\n"
)
SPOKEN = "009-en-gb_victor.wav"
KEY = "sesame ö"
SILENCE_S = 2.5


@pytest.fixture(scope="package")
def spoken(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What Chromium's microphone hears: a second of silence, a command, and silence; over and over."""
    path = tmp_path_factory.mktemp("sound") / "spoken.wav"
    recording = SHARED / "audio" / "commands" / SPOKEN
    sound, rate_hz = b"", 16_000
    if recording.exists():
        with wave.open(str(recording)) as file:
            sound, rate_hz = file.readframes(file.getnframes()), file.getframerate()
    with wave.open(str(path), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(rate_hz)
        file.writeframes(bytes(2 * rate_hz) + sound + bytes(2 * int(SILENCE_S * rate_hz)))
    return path


@pytest.fixture(scope="package")
def browser(spoken: Path) -> Iterator[Browser]:
    """Ends with this folder's tests: Playwright has an event loop of its own, and asyncio's tests want theirs."""
    chromium = shutil.which("chromium")
    if chromium is None:
        pytest.skip("there is no chromium; on Debian: apt-get install chromium")
    arguments = ["--use-fake-device-for-media-stream", "--use-fake-ui-for-media-stream", "--disable-gpu"]
    with sync_playwright() as playwright:
        started = playwright.chromium.launch(
            executable_path=chromium, args=[*arguments, f"--use-file-for-fake-audio-capture={spoken}"]
        )
        yield started
        started.close()


@pytest.fixture(scope="package")
def daemon(
    tmp_path_factory: pytest.TempPathFactory, tiny_model: Path, embedding_model: Path
) -> Iterator[DaemonProcess]:
    """Serves `tiny`, a model of random weights, `vectors`, and a collection `facts`."""
    folder = tmp_path_factory.mktemp("daemon")
    for path, name in ((tiny_model, "tiny"), (embedding_model, "vectors")):
        assert edge_agent(folder, "models", "import", str(path), "--name", name).returncode == 0
    (folder / "facts.csv").write_text(FACTS)
    with running_daemon(folder) as running:
        create = ("search", "create", "facts", "facts.csv", "--text", "body", "--id", "id", "--model", "vectors")
        made = edge_agent(folder, *create)
        assert made.returncode == 0, made.stderr
        yield running


@pytest.fixture(scope="package")
def whisper(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The artifact of the shared Whisper, which knows spoken commands."""
    checkpoint = SHARED / "models" / "whisper-commands-hf"
    if not checkpoint.exists():
        pytest.skip(f"{checkpoint} is not here")
    folder = tmp_path_factory.mktemp("whisper")
    convert = [sys.executable, "-m", "convert.cli", "whisper", str(checkpoint), "--out", "commands"]
    subprocess.run(
        [*convert, "--name", "commands", "--license", "MIT", "--accept-quality"],
        cwd=folder,
        env=environment_for(folder, {"PYTHONPATH": str(ROOT)}),
        check=True,
        capture_output=True,
    )
    return folder / "commands"


@pytest.fixture(scope="package")
def listening_daemon(tmp_path_factory: pytest.TempPathFactory, whisper: Path) -> Iterator[DaemonProcess]:
    """Serves `whisper` to who has `KEY`."""
    folder = tmp_path_factory.mktemp("listening")
    assert edge_agent(folder, "models", "import", str(whisper)).returncode == 0
    with running_daemon(folder, extra={"EDGE_AGENT_API_KEY": KEY}) as running:
        yield running


class Visit:
    """A page that is open, and everything that a visitor should not have to see: errors, requests to elsewhere."""

    def __init__(self, context: BrowserContext, url: str) -> None:
        self.url = url
        self.context = context
        self.page: Page = context.new_page()
        self.complaints: list[str] = []
        self.requests: list[str] = []
        self.expected: list[str] = []
        self.page.on("console", lambda message: self._said(message.type, message.text))
        self.page.on("pageerror", lambda error: self.complaints.append(f"uncaught: {error}"))
        self.page.on("request", self._requested)
        self.page.on("websocket", lambda socket: self._reached(socket.url))

    def _said(self, kind: str, text: str) -> None:
        if kind in ("error", "warning") and not any(part in text for part in self.expected):
            self.complaints.append(f"{kind}: {text}")

    def _requested(self, request: Request) -> None:
        self._reached(request.url)

    def _reached(self, url: str) -> None:
        self.requests.append(url)
        if urlsplit(url).netloc != urlsplit(self.url).netloc:
            self.complaints.append(f"outside: {url}")

    def open(self, view: str = "chat") -> Page:
        self.page.goto(f"{self.url}/#{view}")
        return self.page

    def open_ready(self, view: str = "chat") -> Page:
        """With the device's first word."""
        self.open(view)
        self.page.wait_for_selector("#link[data-state=ok]")
        return self.page

    def ask(self, text: str, model: str = "tiny") -> None:
        """Sends a message, and waits for its first words."""
        self.page.select_option("#model", model)
        self.page.fill("#prompt", text)
        self.page.click("#send")

    def answer_without_end(self) -> None:
        """From now on answers end at their limit: a model of random weights may say its last token at any moment."""

        def ask_for_more(route: Route) -> None:
            body = json.loads(route.request.post_data or "{}")
            route.continue_(post_data={"max_tokens": -1, **body, "ignore_eos": True, "context_shift": True})

        self.page.route("**/v1/chat/completions", ask_for_more)

    def remember(self, talk: dict[str, Any]) -> None:
        """Puts a conversation into the browser's storage before the page reads it."""
        self.context.add_init_script(
            f"if (!sessionStorage.seen) {{ sessionStorage.seen = 1;"
            f" localStorage.setItem('edge-agent.chat', {json.dumps(json.dumps(talk))}); }}"
        )


Visiting = Callable[..., Visit]


@pytest.fixture
def visit(browser: Browser) -> Iterator[Visiting]:
    """Opens visits; at the end none may have had a reason to complain."""
    visits: list[Visit] = []

    def start(daemon: DaemonProcess, **options: Any) -> Visit:
        context = browser.new_context(**{"viewport": DESK, "reduced_motion": "reduce", **options})
        context.set_default_timeout(15_000)
        visits.append(Visit(context, daemon.url))
        return visits[-1]

    yield start
    for one in visits:
        one.page.unroute_all(behavior="ignoreErrors")  # an answer may be under way
        one.context.close()
    assert [complaint for one in visits for complaint in one.complaints] == []
