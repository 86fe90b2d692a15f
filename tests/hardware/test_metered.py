"""What NetworkManager says of the network, by either of its programs; and everything else that may come of asking."""

from __future__ import annotations

import sys

import pytest

from agent.hardware import metered
from agent.hardware.metered import of_devices, of_property, read_metered


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ('{"type":"u","data":1}', True),
        ('{"type":"u","data":2}', False),
        ('{"type":"u","data":3}', True),
        ('{"type":"u","data":4}', False),
        ('{"type":"u","data":0}', None),
        ('{"type":"u","data":9}', None),
        ('{"type":"u","data":"yes"}', None),
        ('{"type":"u"}', None),
        ("[]", None),
        ("Call failed: Unit not found", None),
        ("", None),
    ],
)
def test_the_property(text: str, found: bool | None) -> None:
    assert of_property(text) is found


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("GENERAL.STATE:100 (connected)\nGENERAL.METERED:yes (guessed)\n", True),
        ("GENERAL.STATE:100 (connected)\nGENERAL.METERED:no (guessed)\n", False),
        ("GENERAL.STATE:100 (connected)\nGENERAL.METERED:unknown\n", None),
        ("GENERAL.STATE:20 (unavailable)\nGENERAL.METERED:yes\n", None),
        (
            "GENERAL.STATE:100 (connected)\nGENERAL.METERED:no\n\nGENERAL.STATE:30 (off)\nGENERAL.METERED:yes\n",
            False,
        ),
        ("GENERAL.STATE:100 (connected)\nGENERAL.METERED:no\n\nGENERAL.STATE:100 (c)\nGENERAL.METERED:yes\n", True),
        ("Error: NetworkManager is not running.\n", None),
        ("", None),
    ],
)
def test_the_devices(text: str, found: bool | None) -> None:
    assert of_devices(text) is found


def says(text: str, status: int = 0) -> list[str]:
    return [sys.executable, "-S", "-c", f"print({text!r}); raise SystemExit({status})"]


async def test_the_second_program_is_asked_where_the_first_does_not_know() -> None:
    devices = says("GENERAL.STATE:100 (connected)\nGENERAL.METERED:yes")
    assert await read_metered(says('{"type":"u","data":2}'), ["/no/such/program"]) is False
    assert await read_metered(says('{"type":"u","data":0}'), devices) is True
    assert await read_metered(says('{"type":"u","data":1}', status=1), devices) is True
    assert await read_metered(["/no/such/program"], ["/no/such/program"]) is None


async def test_one_that_does_not_answer_is_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(metered, "TIMEOUT_S", 0.1)
    sleeper = [sys.executable, "-S", "-c", "import time; time.sleep(60)"]
    assert await read_metered(sleeper, ["/no/such/program"]) is None
