"""Gates on measured quality, and the `quality` block of a manifest."""

from __future__ import annotations

import argparse
import json
import math
from typing import Any

import pytest

from agent.errors import ArtifactError
from convert.quality.gates import TEXT_GATES, Gate, QualityError, add_accept_option, check, not_measured

MOST = Gate("kl", 0.2, "most", "mean KL divergence in nats")
LEAST = Gate("agreement", 0.8, "least")


@pytest.mark.parametrize(
    ("gate", "value", "holds"),
    [
        (MOST, 0.1, True),
        (MOST, 0.2, True),
        (MOST, 0.2000001, False),
        (MOST, 0, True),
        (LEAST, 0.8, True),
        (LEAST, 0.79, False),
        (LEAST, 1, True),
        (MOST, math.nan, False),
        (MOST, -math.inf, False),
        (LEAST, math.inf, False),
        (MOST, None, False),
        (LEAST, True, False),
        (MOST, "0.1", False),
    ],
)
def test_a_gate_holds_for_finite_numbers_on_its_side_of_the_limit(gate: Gate, value: object, holds: bool) -> None:
    assert gate.holds(value) is holds


def test_what_passes_becomes_the_manifest_s_block() -> None:
    block = check({"kl": 0.1, "agreement": 0.9, "against": "f16.gguf"}, [MOST, LEAST], accept=False)
    assert block == {
        "kl": 0.1,
        "agreement": 0.9,
        "against": "f16.gguf",
        "measured": True,
        "gates": {
            "kl": {"at_most": 0.2, "passed": True},
            "agreement": {"at_least": 0.8, "passed": True},
        },
        "passed": True,
        "accepted": False,
    }


def test_the_error_names_every_missed_gate_its_value_and_its_limit() -> None:
    with pytest.raises(QualityError) as caught:
        check({"kl": 0.45, "agreement": 0.5}, [MOST, LEAST, Gate("wer", 0.1, "most")], accept=False)
    message = caught.value.message
    assert "mean KL divergence in nats (kl) is 0.45, at most 0.2 is expected" in message
    assert "agreement is 0.5, at least 0.8 is expected" in message
    assert "wer was not measured, at most 0.1 is expected" in message
    assert "--accept-quality" in caught.value.hint
    assert isinstance(caught.value, ArtifactError)


def test_gates_that_hold_are_not_in_the_error() -> None:
    with pytest.raises(QualityError) as caught:
        check({"kl": 0.45, "agreement": 0.9}, [MOST, LEAST], accept=False)
    assert "agreement" not in caught.value.message


def test_what_misses_a_gate_can_be_accepted_and_says_so() -> None:
    block = check({"kl": 0.45, "agreement": 0.9}, [MOST, LEAST], accept=True)
    assert (block["passed"], block["accepted"]) == (False, True)
    assert block["gates"]["kl"]["passed"] is False
    assert block["gates"]["agreement"]["passed"] is True


def test_accepting_what_passes_anyway_is_not_recorded_as_accepted() -> None:
    assert check({"kl": 0.1}, [MOST], accept=True)["accepted"] is False


@pytest.mark.parametrize("quality", [not_measured("There is no text"), {}])
def test_what_was_not_measured_counts_as_failed(quality: dict[str, Any]) -> None:
    with pytest.raises(QualityError, match="not known"):
        check(quality, [MOST], accept=False)
    with pytest.raises(QualityError, match="not known"):
        check(quality, [], accept=False)
    block = check(quality, [MOST], accept=True)
    assert (block["measured"], block["passed"], block["accepted"]) == (False, False, True)


def test_the_reason_why_nothing_was_measured_is_in_the_error_and_in_the_block() -> None:
    with pytest.raises(QualityError, match=r"There is no text\."):
        check(not_measured("There is no text."), [], accept=False)
    assert check(not_measured("There is no text."), [], accept=True)["reason"] == "There is no text."


def test_numbers_that_are_not_finite_fail_and_can_be_written_as_json() -> None:
    quality = {"kl": math.inf, "agreement": math.nan, "deeper": [{"a": math.nan}, 1.0]}
    with pytest.raises(QualityError, match="not a finite number"):
        check(quality, [MOST], accept=False)
    block = check(quality, [MOST], accept=True)
    assert json.loads(json.dumps(block, allow_nan=False))["deeper"] == [{"a": None}, 1.0]
    assert block["kl"] is None


def test_gates_without_a_miss_leave_the_measured_mapping_alone() -> None:
    quality = {"kl": 0.1}
    check(quality, [MOST], accept=False)
    assert quality == {"kl": 0.1}


@pytest.mark.parametrize(
    ("level", "kl", "ratio", "agreement", "passes"),
    [  # llama.cpp, tools/perplexity/README.md; "same top p" is not given for all: then a number that decides nothing
        ("Llama 3 8B Q8_0", 0.001355, 1.000425, 0.97674, True),
        ("Llama 3 8B Q6_K", 0.005452, 1.003490, 0.96031, True),
        ("Llama 3 8B Q4_K_M", 0.031273, 1.028160, 0.91901, True),
        ("Llama 2 7B Q4_K_M", 0.012686, 1.014242, 0.94665, True),
        ("Llama 3 8B Q3_K_M", 0.101913, 1.1053, 0.9, True),
        ("Llama 3 8B Q3_K_S", 0.228217, 1.2618, 0.9, False),
        ("Llama 3 8B Q2_K", 0.445132, 1.564849, 0.71138, False),
        ("Llama 3 8B IQ1_S", 2.211278, 9.3, 0.5, False),
        ("same", 0.0, 1.0, 1.0, True),
    ],
)
def test_the_gates_for_text_pass_what_people_use_and_fail_what_is_damaged(
    level: str, kl: float, ratio: float, agreement: float, passes: bool
) -> None:
    quality = {"kl_mean": kl, "perplexity_ratio": ratio, "top1_agreement": agreement}
    assert check(quality, TEXT_GATES, accept=True)["passed"] is passes, level


def test_the_option_is_off_unless_given() -> None:
    parser = argparse.ArgumentParser()
    add_accept_option(parser)
    assert parser.parse_args([]).accept_quality is False
    assert parser.parse_args(["--accept-quality"]).accept_quality is True
