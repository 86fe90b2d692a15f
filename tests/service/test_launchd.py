"""The property list for launchd."""

from __future__ import annotations

import plistlib
from pathlib import Path

import pytest

from agent.errors import ConfigError
from agent.service.launchd import FILE, LABEL, Person, domain, log_path, plist, plist_path, read_plist
from agent.service.plan import How, launchd_install, launchd_uninstall
from agent.service.units import Wish, unit_text

ANNA = Person(name="anna", uid=501, home=Path("/Users/anna"))
WISH = Wish(program="/opt/edge agent/bin/edge-agent", environment={"EDGE_AGENT_PROFILE": "apple-m"})


def test_the_template_is_a_valid_service() -> None:
    values = read_plist(unit_text(FILE).encode())
    assert values["Label"] == LABEL
    assert values["ProgramArguments"][1:] == ["serve"]
    assert values["KeepAlive"] == {"SuccessfulExit": False}
    assert values["Umask"] == 0o077


@pytest.mark.parametrize("user", [True, False])
def test_what_is_written_can_be_read_back_and_runs_as_the_person(user: bool) -> None:
    values = plistlib.loads(plist(WISH, ANNA, user=user))
    assert values["ProgramArguments"] == ["/opt/edge agent/bin/edge-agent", "serve"]
    assert values["EnvironmentVariables"]["EDGE_AGENT_PROFILE"] == "apple-m"
    assert values.get("UserName") == (None if user else "anna")
    assert values["StandardErrorPath"] == str(log_path(ANNA, user=user))
    assert read_plist(plist(WISH, ANNA, user=user)) == values


@pytest.mark.parametrize(
    ("user", "path", "where"),
    [
        (True, "/Users/anna/Library/LaunchAgents/org.edge-agent.plist", "gui/501"),
        (False, "/Library/LaunchDaemons/org.edge-agent.plist", "system"),
    ],
)
def test_it_goes_where_launchd_looks(user: bool, path: str, where: str) -> None:
    assert plist_path(ANNA, user=user) == Path(path)
    assert domain(ANNA, user=user) == where
    install = launchd_install(WISH, How(), ANNA, user=user)
    assert list(install.write) == [Path(path)]
    assert [command.argv for command in install.after] == [("launchctl", "bootstrap", where, path)]
    uninstall = launchd_uninstall(How(), ANNA, user=user)
    assert Path(path) in uninstall.remove
    assert uninstall.before[0].argv == ("launchctl", "bootout", f"{where}/{LABEL}")


@pytest.mark.parametrize(
    ("data", "word"),
    [
        (b"", "no property list"),
        (b"<plist><dict><key>Label</plist>", "no property list"),
        (b'<?xml version="1.0"?><plist version="1.0"><array/></plist>', "expected a dictionary"),
        (b'<?xml version="1.0"?><plist version="1.0"><dict/></plist>', "Label"),
        (
            b'<?xml version="1.0"?><plist version="1.0"><dict><key>Label</key><integer>1</integer></dict></plist>',
            "expected a str",
        ),
    ],
)
def test_a_broken_list_is_named(data: bytes, word: str) -> None:
    with pytest.raises(ConfigError, match=word):
        read_plist(data)
