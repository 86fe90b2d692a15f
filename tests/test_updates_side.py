from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from agent.errors import ConfigError
from agent.fleet.blocks import Blocks
from agent.runtime.spec import Limits as RuntimeLimits
from agent.settings import UpdatesSettings
from agent.updates_side import fetching_of, policy_of


def test_a_policy_is_the_settings_in_bytes_and_ratios() -> None:
    settings = UpdatesSettings(
        windows=("02:00-05:00",), daily_mb=50, bandwidth_kb_s=100, metered_mb=0.5, probation_error_percent=20
    )
    policy = policy_of(settings, RuntimeLimits(hang_timeout_s=7))
    assert (policy.bytes_per_day, policy.bytes_per_s, policy.metered_bytes) == (50_000_000, 100_000, 500_000)
    assert [(one.opens, one.closes) for one in policy.windows] == [(120, 300)]
    assert policy.limits.probation_error_ratio == 0.2
    assert policy.limits.hang_timeout_s == 7


def test_without_limits_there_are_none() -> None:
    policy = policy_of(UpdatesSettings(), RuntimeLimits())
    assert (policy.bytes_per_day, policy.bytes_per_s, policy.windows) == (None, None, ())
    assert policy.limits.load_timeout_s <= policy.limits.trial_timeout_s


@pytest.mark.parametrize(
    ("settings", "param", "words"),
    [
        ({"url": "ftp://h"}, "updates.url", "expected http://, https:// or mqtt:"),
        ({"url": "mqtt:"}, "updates.url", "there is no broker"),
        ({"url": "http://h", "root_file": "missing"}, "updates.root_file", "is not there"),
    ],
)
def test_a_repository_that_cannot_be(tmp_path: Path, settings: dict[str, Any], param: str, words: str) -> None:
    (tmp_path / "root.json").write_text("{}")
    said = UpdatesSettings(**{**settings, "root_file": tmp_path / settings.get("root_file", "root.json")})
    with pytest.raises(ConfigError, match=words) as caught:
        fetching_of(said, tmp_path, None)
    assert caught.value.param == param


def test_a_repository_over_http_and_over_the_broker(tmp_path: Path) -> None:
    root = tmp_path / "root.json"
    root.write_text("{}")
    assert fetching_of(UpdatesSettings(), tmp_path, None) is None
    assert fetching_of(UpdatesSettings(url="https://h/", root_file=root), tmp_path, None) is not None
    assert fetching_of(UpdatesSettings(url="mqtt:", root_file=root), tmp_path, Blocks()) is not None
