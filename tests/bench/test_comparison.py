from __future__ import annotations

import copy
from collections.abc import Callable

import pytest

from agent.bench.comparison import ratios, warnings
from agent.bench.report import ModelFacts, Report, Row

PI = Report(
    began="2025-01-02T03:04:05Z",
    url="x",
    server="edge-agent",
    server_version="1",
    models=[ModelFacts(task="generate", name="m", version="1", quantization="Q4_K_M", weights_bytes=10)],
    rows=[
        Row(measure="generate", unit="tokens/s", values=[10.0, 10.0, 10.0], case={"prompt_tokens": 128}),
        Row(measure="first token", unit="s", values=[0.1] * 19 + [1.0], higher_is_better=False, tail=True),
    ],
    complete=True,
)


def changed(change: Callable[[Report], object]) -> Report:
    report = copy.deepcopy(PI)
    change(report)
    return report


def test_above_1_is_better_whatever_the_unit() -> None:
    def change(report: Report) -> None:
        report.rows[0].values = [20.0, 25.0, 15.0]
        report.rows[1].values = [0.2] * 20

    found = {(one.title, one.what): one for one in ratios(PI, changed(change))}
    speed = found["generate (128 tokens of prompt)", "median"]
    assert (speed.gain, speed.low, speed.high) == pytest.approx((2.0, 1.75, 2.25))
    assert found["first token", "median"].gain == pytest.approx(0.5)
    assert found["first token", "p95"].gain == pytest.approx(0.145 / 0.2)
    assert len(found) == 3


def test_the_same_report_twice_is_1_without_a_warning() -> None:
    assert [one.gain for one in ratios(PI, PI)] == [1.0, 1.0, 1.0]
    assert list(warnings(PI, PI)) == []


@pytest.mark.parametrize(
    ("change", "warning"),
    [
        (lambda report: setattr(report.models[0], "name", "n"), "Not the same model"),
        (lambda report: setattr(report.models[0], "version", "2"), "Not the same version"),
        (lambda report: setattr(report.models[0], "quantization", "Q8_0"), "Not the same quantization"),
        (lambda report: setattr(report.models[0], "weights_bytes", 11), "Not the same weights"),
        (lambda report: report.models.clear(), "Only the first has a model"),
        (lambda report: setattr(report, "quick", True), "--quick"),
        (lambda report: setattr(report, "server", "openai"), "Not the same kind of server"),
        (lambda report: setattr(report, "server_version", "2"), "Not the same edge-agent"),
        (lambda report: setattr(report, "others_cores", 1.5), "other programs kept 1.5 cores busy"),
        (lambda report: setattr(report, "complete", False), "second is not complete"),
        (lambda report: setattr(report.rows[0], "values", [5.0, 10.0, 20.0]), "second is unsteady in generate"),
        (lambda report: report.rows.pop(0), "Only one of them has: generate"),
    ],
)
def test_what_makes_a_comparison_doubtful_is_said(change: Callable[[Report], object], warning: str) -> None:
    assert any(warning in text for text in warnings(PI, changed(change)))
