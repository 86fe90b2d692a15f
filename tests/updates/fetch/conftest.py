from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.convert.publish.published import Repository, new_repository
from tests.updates.fetch.device import FetchingDevice
from tests.updates.fetch.web import Web


@pytest.fixture
def repository(tmp_path: Path) -> Repository:
    (tmp_path / "publisher").mkdir()
    return new_repository(tmp_path / "publisher")


@pytest.fixture
def web(repository: Repository) -> Iterator[Web]:
    with Web(repository.path) as serving:
        yield serving


@pytest.fixture
def device(tmp_path: Path, repository: Repository, web: Web) -> FetchingDevice:
    return FetchingDevice(tmp_path / "device", repository.created.root, web.url)
