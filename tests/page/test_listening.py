from __future__ import annotations

import json
import math
import re
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Page, Route, expect

from benchmarks.speech.null_sink import NullSink, why_not
from tests.conftest import SHARED
from tests.daemon_process import DaemonProcess, edge_agent, running_daemon
from tests.page.conftest import KEY, SPOKEN, Visit, Visiting


def said() -> str:
    """What the browser's microphone hears, as the recording's transcript has it."""
    transcripts = json.loads((SHARED / "audio" / "commands" / "transcripts.json").read_text())
    return words(transcripts[SPOKEN])


def words(text: str) -> str:
    return " ".join(re.findall(r"[a-z0-9']+", text.lower()))


@pytest.fixture
def listener(listening_daemon: DaemonProcess, visit: Visiting) -> Visit:
    """A visit with the key, so that the WebSocket has to carry it."""
    visitor = visit(listening_daemon)
    visitor.context.add_init_script(f"sessionStorage.setItem('edge-agent.key', {json.dumps(KEY)})")
    return visitor


def test_browser_s_microphone_becomes_text(listener: Visit) -> None:
    page = listener.open_ready("listen")
    page.evaluate(
        """() => {
          window.levels = 0;
          window.partials = [];
          const meter = document.querySelector("#meter");
          new MutationObserver(() => (window.levels += 1)).observe(meter, { attributes: true });
          new MutationObserver(() => {
            const partial = document.querySelector("#transcript .partial .words");
            if (partial) window.partials.push(partial.textContent);
          }).observe(document.querySelector("#transcript"), { childList: true, subtree: true });
        }"""
    )
    page.click("#listen-button")
    expect(page.locator("#listen-state")).to_have_text("Listening")
    final = page.locator("#transcript .final .words").first
    expect(final).to_be_visible(timeout=20_000)
    assert words(final.inner_text()) == said()
    assert page.evaluate("window.levels") > 5
    assert page.evaluate("window.partials.length") > 0
    page.click("#listen-button")
    expect(page.locator("#listen-state")).to_have_text("Closed")
    expect(page.locator("#listen-trouble")).to_be_hidden()
    assert any(url.startswith("ws://") for url in listener.requests)


def test_speaking_fills_the_chat_s_message(listener: Visit) -> None:
    page = listener.open_ready()
    page.click("#dictate")
    expect(page.locator("#dictate")).to_have_attribute("aria-pressed", "true")
    expect(page.locator("#prompt")).not_to_have_value("", timeout=20_000)
    assert words(page.input_value("#prompt")) == said()
    page.click("#dictate")
    expect(page.locator("#dictate")).to_have_attribute("aria-pressed", "false")
    expect(page.locator("#heard")).to_be_hidden()
    expect(page.locator("#prompt")).to_be_focused()


def test_refused_microphone_is_told(listener: Visit) -> None:
    page = listener.open_ready("listen")
    page.evaluate(
        """() => {
          navigator.mediaDevices.getUserMedia = async () => { throw new DOMException("no", "NotAllowedError"); };
        }"""
    )
    page.click("#listen-button")
    expect(page.locator("#listen-trouble")).to_contain_text("does not let this page use the microphone")
    expect(page.locator("#listen-button")).to_have_text("Start")


def test_stream_that_the_device_refuses_says_why(listener: Visit) -> None:
    listener.expected += ["WebSocket connection to", "Failed to load resource"]
    page = listener.open_ready("listen")
    page.fill("#listen-language", "klingon")
    page.click("#listen-button")
    expect(page.locator("#listen-trouble")).to_contain_text("klingon")


def test_device_s_own_microphone_becomes_text_and_is_closed_afterwards(
    tmp_path: Path, whisper: Path, visit: Visiting
) -> None:
    if reason := why_not():
        pytest.skip(reason)
    (tmp_path / "sound").mkdir()
    assert edge_agent(tmp_path, "models", "import", str(whisper)).returncode == 0
    with NullSink(tmp_path / "sound") as sink, running_daemon(tmp_path, extra=sink.environment) as daemon:
        page = visit(daemon).open_ready("listen")
        page.get_by_text("The device", exact=True).click()
        page.click("#listen-button")
        expect(page.locator("#listen-state")).to_have_text("Listening", timeout=20_000)
        expect(page.locator("#mic-open")).to_be_visible()
        playing = sink.play(SHARED / "audio" / "commands" / SPOKEN)
        final = page.locator("#transcript .final .words").first
        expect(final).to_be_visible(timeout=20_000)
        playing.wait()
        assert words(final.inner_text()) == said()
        page.click("#listen-button")
        expect(page.locator("#listen-state")).to_have_text("Closed")
        expect(page.locator("#mic-open")).to_be_hidden()
        assert daemon.get("/status")[1]["microphone"]["state"] == "closed"


def events(*told: dict[str, Any]) -> Any:
    """The device's microphone, as `/v1/audio/live` sends it: a real one is not at hand in every test."""
    common = {"at_s": 1.0, "time": 1_760_000_000.0}

    def answer(route: Route) -> None:
        body = "".join(f"event: {one['type']}\ndata: {json.dumps({**common, **one})}\n\n" for one in told)
        route.fulfill(content_type="text/event-stream", body=": ping\n\n" + body)

    return answer


def final(segment: int, text: str) -> dict[str, Any]:
    return {"type": "final", "segment": segment, "text": text, "start_s": 0.5, "end_s": 1.0, "reason": "silence"}


def partial(segment: int, text: str, committed: str) -> dict[str, Any]:
    return {"type": "partial", "segment": segment, "text": text, "committed": committed, "start_s": 0.5, "end_s": 1.0}


def device(state: str, reason: str = "", hint: str = "") -> dict[str, Any]:
    return {"type": "device", "state": state, "name": "USB", "reason": reason, "hint": hint, "retry_s": 0.5}


def listen_to_device(visitor: Visit, *told: dict[str, Any]) -> Page:
    visitor.page.route("**/v1/audio/live?*", events(*told))
    devices = {"devices": [{"index": 3, "name": "USB", "default": True}], "microphone": {}}
    visitor.page.route("**/v1/audio/devices", lambda route: route.fulfill(json=devices))
    page = visitor.open_ready("listen")
    page.get_by_text("The device", exact=True).click()
    page.select_option("#listen-device", "3")
    with page.expect_request("**/v1/audio/live?*") as asked:
        page.click("#listen-button")
    assert "device=3" in asked.value.url
    return page


def test_device_s_microphone_its_states_and_its_losses_are_shown(listener: Visit) -> None:
    page = listen_to_device(
        listener,
        device("opening"),
        device("open"),
        partial(1, "turn on", ""),
        final(1, "Turn on the light."),
        {"type": "lost", "samples": 24_000, "reason": "device"},
        device("failed", "No microphone was found."),
        device("failed", "No microphone was found."),
        device("lost", "The microphone was unplugged.", "Plug it in."),
        {"type": "overload", "segment": 2, "start_s": 1.0, "end_s": 3.5, "queued_s": 60.0},
        partial(3, "never to be", ""),
        final(3, ""),
        {"type": "error", "segment": 4, "start_s": 1, "end_s": 2, "code": "x", "message": "It broke.", "hint": "Wait."},
    )
    transcript = page.locator("#transcript")
    expect(transcript.locator(".final .words")).to_have_text(["Turn on the light."])
    assert transcript.locator(".notice").all_inner_texts() == [
        "1.5 s of sound were lost (the microphone did not deliver it).",
        "No microphone was found. It is tried again.",
        "The microphone was unplugged. Plug it in. It is tried again.",
        "2.5 s of speech were left out: the device cannot keep up.",
        "It broke. Wait.",
    ]
    assert "never to be" not in transcript.inner_text()
    expect(page.locator("#listen-trouble")).to_have_text("The device has closed its microphone.")


def test_committed_words_are_normal_and_the_rest_is_dim(listener: Visit) -> None:
    page = listener.open_ready("listen")
    colors = page.evaluate(
        """async () => {
          const { Transcript } = await import("/page/transcript.js");
          const target = document.querySelector("#transcript");
          new Transcript(target).partial({ segment: 1, text: " turn on the", committed: " turn on" });
          const words = target.querySelector(".words");
          const rest = words.querySelector(".rest");
          return [words.firstChild.data, rest.textContent, getComputedStyle(words).color, getComputedStyle(rest).color];
        }"""
    )
    assert colors[:2] == ["turn on", " the"]
    assert colors[2] != colors[3]


CONVERT = """async ([rate, tone]) => {
  const seconds = 1.2;
  const context = new OfflineAudioContext(1, rate * seconds, rate);
  await context.audioWorklet.addModule("/page/worklet.js");
  const source = new OscillatorNode(context, { frequency: tone });
  const capture = new AudioWorkletNode(context, "capture", { numberOfOutputs: 0 });
  const pieces = [];
  const done = new Promise((resolve) => {
    capture.port.onmessage = ({ data }) => {
      pieces.push(...new Int16Array(data.pcm));
      if (pieces.length >= 16000) resolve();
    };
  });
  source.connect(capture);
  source.start();
  await context.startRendering();
  await done;
  return pieces.slice(2000, 16000);
}"""


@pytest.mark.parametrize("rate_hz", [16_000, 44_100, 48_000, 96_000])
def test_sound_of_any_rate_becomes_16_khz(daemon: DaemonProcess, visit: Visiting, rate_hz: int) -> None:
    page = visit(daemon).open_ready()

    def level(samples: list[int]) -> float:
        return math.sqrt(sum(sample * sample for sample in samples) / len(samples)) / 32768 * math.sqrt(2)

    heard = page.evaluate(CONVERT, [rate_hz, 1000])
    crossings = sum(1 for one, other in pairwise(heard) if one < 0 <= other)
    assert crossings == pytest.approx(len(heard) / 16, abs=2), "the tone keeps its pitch"
    assert level(heard) == pytest.approx(1.0, abs=0.02), "and its level"
    if rate_hz > 20_000:
        assert level(page.evaluate(CONVERT, [rate_hz, 9600])) < 0.02, "what 16 kHz cannot hold is gone, not folded"
