"""Which daemon a command is about, and where its models are."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from agent.commands.client import Client
from agent.commands.whereabouts import Look, by_address, by_folder
from agent.errors import EdgeAgentError, UnauthorizedError, UnavailableError
from agent.instance import SERVICE_STATE_DIR, Running
from tests.commands.test_client import envelope, response, server_that_says

OWN, OTHER = Path("/home/me/edge"), Path("/srv/edge")
NOBODY = "http://127.0.0.1:1"


def looking(daemons: dict[Path, Running]) -> Look:
    return daemons.get


def daemon(pid: int = 7, url: str = "http://127.0.0.1:2") -> Running:
    return Running(pid, url, "1.0")


@pytest.mark.parametrize(
    ("running", "given", "folder"),
    [
        ((), False, OWN),
        ((OWN,), False, OWN),
        ((SERVICE_STATE_DIR,), False, SERVICE_STATE_DIR),
        ((OWN, SERVICE_STATE_DIR), False, OWN),
        ((SERVICE_STATE_DIR,), True, OWN),
    ],
)
def test_without_an_address_the_own_folder_then_the_service_s(
    running: tuple[Path, ...], given: bool, folder: Path
) -> None:
    found = by_folder(OWN, given=given, look=looking({path: daemon() for path in running}))
    assert (found.state_dir, found.running is not None, found.trouble) == (folder, folder in running, None)


@pytest.mark.parametrize("folder", [OWN, SERVICE_STATE_DIR])
def test_a_daemon_that_has_noted_this_address_is_not_asked(folder: Path) -> None:
    here = daemon(url=NOBODY)
    found = by_address(Client(NOBODY), OWN, look=looking({OWN: daemon(), folder: here}))
    assert (found.state_dir, found.running, found.trouble) == (folder, here, None)


def test_the_daemon_at_an_address_says_which_folder_it_serves() -> None:
    here = daemon(pid=9)
    with server_that_says(response(json.dumps({"state_dir": str(OTHER), "pid": 9}).encode())) as url:
        found = by_address(Client(url), OWN, look=looking({OWN: daemon(), OTHER: here}))
    assert (found.state_dir, found.running, found.trouble) == (OTHER, here, None)


def test_where_no_daemon_answers_it_is_as_without_an_address() -> None:
    found = by_address(Client(NOBODY), OWN, look=looking({SERVICE_STATE_DIR: daemon()}))
    assert (found.state_dir, found.trouble, found.unanswered) == (SERVICE_STATE_DIR, None, True)
    assert by_address(Client(NOBODY), OWN, look=looking({})).state_dir == OWN


@pytest.mark.parametrize(
    ("answer", "kind", "says"),
    [
        pytest.param({"state_dir": str(OTHER), "pid": 8}, UnavailableError, "--state-dir", id="another's folder"),
        pytest.param({"state_dir": "/nowhere", "pid": 9}, UnavailableError, "/nowhere, which", id="no folder here"),
        pytest.param({"pid": 9}, UnavailableError, "does not say where", id="it does not say"),
        pytest.param([], UnavailableError, "does not say where", id="something else"),
        pytest.param(b"<html>", UnavailableError, "not edge-agent", id="no JSON"),
        pytest.param(None, UnauthorizedError, "--api-key", id="a key is needed"),
    ],
)
def test_a_daemon_whose_files_are_out_of_reach_is_told_apart(
    answer: object, kind: type[EdgeAgentError], says: str
) -> None:
    body = answer if isinstance(answer, bytes) else json.dumps(answer).encode()
    whole = response(envelope("invalid_api_key"), "401 No") if answer is None else response(body)
    with server_that_says(whole) as url:
        found = by_address(Client(url), OWN, look=looking({OWN: daemon(), OTHER: daemon(pid=9)}))
    assert found.running is None
    assert isinstance(found.trouble, kind)
    assert says in f"{found.trouble.message} {found.trouble.hint}"
