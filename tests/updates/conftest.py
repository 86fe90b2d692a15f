from __future__ import annotations

from pathlib import Path

import pytest

from tests.updates.local import Site


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    for module, name in (("updater", "LOOK_S"), ("updater", "WATCH_S"), ("updater", "TROUBLE_S"), ("steps", "LOOK_S")):
        monkeypatch.setattr(f"agent.updates.{module}.{name}", 0.02)


@pytest.fixture
def site(tmp_path: Path) -> Site:
    site = Site(tmp_path)
    site.install("1", b"one" * 1000)
    site.publish("2", b"two" * 1000)
    return site
