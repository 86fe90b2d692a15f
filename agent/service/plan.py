"""What installing and removing the service comes to: files and commands. Values in, values out; `apply` does them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from agent.service import launchd
from agent.service.launchd import Person
from agent.service.units import Wish, place_drop_in, socket_drop_in, unit_text, with_program

USER = "edge-agent"
SERVICE, SOCKET = "edge-agent.service", "edge-agent.socket"

SYSTEM_UNITS = Path("/etc/systemd/system")
SYSUSERS = Path("/etc/sysusers.d/edge-agent.conf")
STATE, CACHE = Path("/var/lib/edge-agent"), Path("/var/cache/edge-agent")


@dataclass(frozen=True, kw_only=True)
class Command:
    """`why` is for people. One that is `optional` may fail; one that is `later` is done by the image itself when it
    boots, if this machine lacks the program."""

    argv: tuple[str, ...]
    why: str
    optional: bool = False
    later: bool = False


@dataclass(frozen=True, kw_only=True)
class Plan:
    """In this order: `before` runs, files are removed, files are written, `after` runs."""

    before: tuple[Command, ...] = ()
    remove: tuple[Path, ...] = ()
    write: Mapping[Path, bytes]
    after: tuple[Command, ...] = ()


@dataclass(frozen=True, kw_only=True)
class How:
    """`root` is where the system's files lie, `/` but for the image of another machine: then nothing is started.
    `on_demand` leaves the start to the first request."""

    root: Path = Path("/")
    on_demand: bool = False
    start: bool = True
    keep_state: bool = False

    @property
    def live(self) -> bool:
        return self.root == Path("/")

    def place(self, path: Path) -> Path:
        return self.root / path.relative_to("/")


def system_install(wish: Wish, how: How, board: str | None) -> Plan:
    """The machine's service under systemd; `board` is the text of `50-board.conf`, where the board is known."""
    drop_ins = {
        f"{SERVICE}.d/50-board.conf": board,
        f"{SERVICE}.d/60-place.conf": place_drop_in(wish, user=False),
        f"{SOCKET}.d/50-address.conf": socket_drop_in(wish),
    }
    units = {SERVICE: with_program(unit_text(SERVICE), wish.program), SOCKET: unit_text(SOCKET), **drop_ins}
    write = {how.place(SYSTEM_UNITS / name): text.encode() for name, text in units.items() if text is not None}
    write[how.place(SYSUSERS)] = unit_text("edge-agent.sysusers").encode()
    stale = tuple(how.place(SYSTEM_UNITS / name) for name, text in drop_ins.items() if text is None)
    enabled = (SOCKET,) if how.on_demand else (SOCKET, SERVICE)
    if not how.live:
        root = f"--root={how.root}"
        return Plan(
            remove=stale,
            write=write,
            after=(
                Command(argv=("systemd-sysusers", root, SYSUSERS.name), why=f"make the user {USER}", later=True),
                _command("start it with that system", "systemctl", root, "enable", *enabled),
            ),
        )
    after = [
        _command(f"make the user {USER}", "systemd-sysusers", str(SYSUSERS)),
        _command("read the units", "systemctl", "daemon-reload"),
    ]
    if how.on_demand:
        after.append(_command("not at boot", "systemctl", "disable", SERVICE, optional=True))
    after.append(_command("start it with the system", "systemctl", "enable", *enabled))
    if how.start:
        after += [_command(f"start {unit}", "systemctl", "start", unit) for unit in enabled]
    stop = _command("stop an earlier one", "systemctl", "stop", SOCKET, SERVICE, optional=True)
    return Plan(before=(stop,), remove=stale, write=write, after=tuple(after))


def system_uninstall(how: How) -> Plan:
    """Takes away all that `system_install` and the service have made; with `keep_state` the models and databases, and
    the user to whom they belong, stay."""
    units = [how.place(SYSTEM_UNITS / name) for name in (SERVICE, SOCKET, f"{SERVICE}.d", f"{SOCKET}.d")]
    remove = [*units, how.place(SYSUSERS), how.place(CACHE)]
    delete_user: tuple[Command, ...] = ()
    prefix = () if how.live else ("--prefix", str(how.root))
    if not how.keep_state:
        remove.append(how.place(STATE))
        delete_user = (
            _command(f"remove the user {USER}", "userdel", *prefix, USER, optional=True),
            _command("remove the group", "groupdel", *prefix, USER, optional=True),  # mostly gone with the user
        )
    if not how.live:
        disable = _command("forget it", "systemctl", f"--root={how.root}", "disable", SOCKET, SERVICE, optional=True)
        return Plan(before=(disable,), remove=tuple(remove), write={}, after=delete_user)
    return Plan(
        before=(_command("stop it", "systemctl", "disable", "--now", SOCKET, SERVICE, optional=True),),
        remove=tuple(remove),
        write={},
        after=(
            _command("read the units", "systemctl", "daemon-reload"),
            _command("forget failures", "systemctl", "reset-failed", SERVICE, SOCKET, optional=True),
            *delete_user,
        ),
    )


def user_install(wish: Wish, how: How, person: Person) -> Plan:
    """A person's service under systemd."""
    units = {
        SERVICE: with_program(unit_text("edge-agent.user.service"), wish.program),
        f"{SERVICE}.d/60-place.conf": place_drop_in(wish, user=True),
    }
    folder = user_units(person)
    write = {how.place(folder / name): text.encode() for name, text in units.items() if text is not None}
    stale = tuple(how.place(folder / name) for name, text in units.items() if text is None)
    if not how.live:
        return Plan(remove=stale, write=write)
    after = [
        _command("read the units", "systemctl", "--user", "daemon-reload"),
        _command("start it with the session", "systemctl", "--user", "enable", SERVICE),
    ]
    if how.start:
        after.append(_command("start it", "systemctl", "--user", "restart", SERVICE))
    return Plan(remove=stale, write=write, after=tuple(after))


def user_uninstall(how: How, person: Person) -> Plan:
    """The person's models stay: they are not the service's alone."""
    folder = user_units(person)
    remove = tuple(how.place(folder / name) for name in (SERVICE, f"{SERVICE}.d"))
    if not how.live:
        return Plan(remove=remove, write={})
    return Plan(
        before=(_command("stop it", "systemctl", "--user", "disable", "--now", SERVICE, optional=True),),
        remove=remove,
        write={},
        after=(_command("read the units", "systemctl", "--user", "daemon-reload", optional=True),),
    )


def user_units(person: Person) -> Path:
    return person.home / ".config/systemd/user"


def launchd_install(wish: Wish, how: How, person: Person, *, user: bool) -> Plan:
    """macOS: an agent of the person, or a daemon of the machine that runs as the person."""
    path, domain = launchd.plist_path(person, user=user), launchd.domain(person, user=user)
    write = {how.place(path): launchd.plist(wish, person, user=user)}
    if not how.live:
        return Plan(write=write)
    return Plan(
        before=(_command("stop an earlier one", "launchctl", "bootout", f"{domain}/{launchd.LABEL}", optional=True),),
        write=write,
        after=(_command("start it", "launchctl", "bootstrap", domain, str(path)),) if how.start else (),
    )


def launchd_uninstall(how: How, person: Person, *, user: bool) -> Plan:
    path, domain = launchd.plist_path(person, user=user), launchd.domain(person, user=user)
    stop = _command("stop it", "launchctl", "bootout", f"{domain}/{launchd.LABEL}", optional=True)
    log = launchd.log_path(person, user=user)
    return Plan(before=(stop,) if how.live else (), remove=(how.place(path), how.place(log)), write={})


def _command(why: str, *argv: str, optional: bool = False) -> Command:
    return Command(argv=argv, why=why, optional=optional)
