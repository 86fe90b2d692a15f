"""Brokers and certificates that a module's tests share."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import pytest

from tests.fleet.broker import Broker
from tests.fleet.certificates import Authority, Certificate


@dataclass(frozen=True)
class Papers:
    """`stranger` is another authority with a device of the same name."""

    authority: Authority
    device: Certificate
    stranger: Authority
    strange_device: Certificate


@pytest.fixture(scope="session")
def papers(tmp_path_factory: pytest.TempPathFactory) -> Papers:
    ours, theirs = (Authority(tmp_path_factory.mktemp(name), name) for name in ("ours", "theirs"))
    return Papers(ours, ours.issue("device"), theirs, theirs.issue("device"))


@pytest.fixture(scope="module")
def open_broker(tmp_path_factory: pytest.TempPathFactory, papers: Papers) -> Iterator[Broker]:
    """On all four kinds of address, for anybody."""
    folder = tmp_path_factory.mktemp("open")
    with Broker(folder, listeners=("mqtt", "mqtts", "ws", "wss"), authority=papers.authority) as started:
        yield started


@pytest.fixture(scope="module")
def strict_broker(tmp_path_factory: pytest.TempPathFactory, papers: Papers) -> Iterator[Broker]:
    """For devices with a certificate of ours only."""
    folder = tmp_path_factory.mktemp("strict")
    made = Broker(folder, listeners=("mqtt", "mqtts"), authority=papers.authority, client_certificates=True)
    with made as started:
        yield started
