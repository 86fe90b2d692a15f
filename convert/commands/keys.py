"""The keys that sign what devices install: make a repository, add device classes, replace keys, renew signatures."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from agent.errors import RequestError
from agent.terminal import print_json, table
from convert.commands.key_options import (
    add_keys,
    add_repository,
    key_folders,
    keys_at_hand,
    lacking_text,
    passphrase,
)

if TYPE_CHECKING:
    from convert.publish.changes import Changed

NAME: Final = "keys"
HELP: Final = "make a signed repository for updates, and look after its keys"

_DAY_S: Final = 86_400
_SOON_DAYS: Final = 14


def configure(parser: argparse.ArgumentParser) -> None:
    actions = parser.add_subparsers(dest="action", required=True, metavar="ACTION")

    def action(name: str, help: str, does: Callable[[argparse.Namespace], int]) -> argparse.ArgumentParser:
        added = actions.add_parser(name, help=help, description=f"{help[0].upper()}{help[1:]}.")
        added.set_defaults(does=does)
        add_repository(added)
        added.add_argument("--json", action="store_true", help="print JSON, for scripts")
        return added

    create = action("create", "make a repository and the keys of all its roles", _create)
    create.add_argument("--keys", type=Path, action="append", metavar="DIR", help="a new folder for the private keys")
    for role in ("root", "targets"):
        create.add_argument(
            f"--{role}", metavar="M/N", help=f"how many of how many {role} keys must sign; {_usual(role)} unless given"
        )
    create.add_argument(
        "--expires",
        metavar="ROLE=DAYS",
        action="append",
        default=[],
        help="how long signatures are good for: root, targets and classes 365 days, snapshot 30, timestamp 7",
    )
    action("show", "the roles, their keys, and when their signatures expire", _show)
    added = action("class", "add a device class: a part of the repository with keys of its own", _class)
    added.add_argument("name", metavar="CLASS")
    _add_quorum(added)
    rotate = action("rotate", "replace the keys of a role", _rotate)
    rotate.add_argument("role", metavar="ROLE", help="root, targets, snapshot, timestamp or a device class")
    rotate.add_argument("--only", metavar="KEYID", action="append", default=[], help="replace just this key")
    _add_quorum(rotate)
    for parser_of_new in (added, rotate):
        add_keys(parser_of_new)
        parser_of_new.add_argument(
            "--new-keys", type=Path, metavar="DIR", help="where new keys are put; the first folder of --keys by default"
        )
    renew = action(
        "renew", "sign anew what would expire: run it daily, with the keys of timestamp and snapshot", _renew
    )
    renew.add_argument("roles", metavar="ROLE", nargs="*", help="renew this role in any case")
    add_keys(renew)
    sign = action("sign", "add signatures to a change that waits for them", _sign)
    sign.add_argument("--discard", action="store_true", help="drop the change instead")
    add_keys(sign)


def run(given: argparse.Namespace) -> int:
    does: Callable[[argparse.Namespace], int] = given.does
    return does(given)


def _usual(role: str) -> str:
    return {"root": "2/3", "targets": "1/2"}[role]


def _add_quorum(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--quorum", metavar="M/N", help="how many of how many keys must sign")


def _create(given: argparse.Namespace) -> int:
    from convert.publish.create import create
    from convert.publish.roles import days, quorum

    folders = key_folders(given)
    if len(folders) != 1:
        raise RequestError("--keys: one new folder is expected.")
    asked = {role: quorum(text) for role in ("root", "targets") if (text := getattr(given, role)) is not None}
    created = create(given.repo, folders[0], quorums=asked, days=days(given.expires), passphrase=passphrase())
    if given.json:
        print_json(
            {"repository": str(given.repo), "root": str(created.root), "keys": [str(key) for key in created.keys]}
        )
        return 0
    print(f"{given.repo}: a new repository. {folders[0]}: {len(created.keys)} private keys.")
    print(f"Give devices {created.root} as [updates] root_file.")
    if passphrase() is None:
        print("The keys are not encrypted; EDGE_CONVERT_PASSPHRASE encrypts new ones.", file=sys.stderr)
    print(f"Move {folders[0] / 'root'} and {folders[0] / 'targets'} off this machine.", file=sys.stderr)
    return 0


def _show(given: argparse.Namespace) -> int:
    from convert.publish.session import utc_now
    from convert.publish.show import roles

    shown, waiting = roles(given.repo)
    if given.json:
        listed = [
            {
                "role": role.role,
                "version": role.version,
                "expires": role.expires.isoformat(),
                "threshold": role.threshold,
                "keys": role.keyids,
                "models": role.models,
            }
            for role in shown
        ]
        print_json({"roles": listed, "waiting": waiting})
        return 0
    now = utc_now()
    rows = [
        [role.role, str(role.version), _expiry(role.expires, now), f"{role.threshold} of {len(role.keyids)}",
         " ".join(keyid[:12] for keyid in role.keyids)]
        for role in shown
    ]  # fmt: skip
    print(table(rows, ("ROLE", "VERSION", "EXPIRES", "SIGN", "KEYS"), right=(1,)))
    if waiting:
        print(f"\nA change waits: {'; '.join(waiting)}.")
    return 0


def _expiry(expires: datetime, now: datetime) -> str:
    left = int((expires - now).total_seconds() // _DAY_S)
    date = expires.strftime("%Y-%m-%d")
    if left < 0:
        return f"{date} EXPIRED"
    return f"{date} ({left} days)" if left < _SOON_DAYS else date


def _class(given: argparse.Namespace) -> int:
    from convert.publish.changes import add_class
    from convert.publish.roles import DEFAULT_QUORUMS, TARGETS, quorum

    chosen = quorum(given.quorum) if given.quorum else DEFAULT_QUORUMS[TARGETS]
    changed = add_class(
        given.repo, keys_at_hand(given), given.name, _new_keys(given), quorum=chosen, passphrase=passphrase()
    )
    return _tell(given, changed, f"{given.name}: a new device class")


def _rotate(given: argparse.Namespace) -> int:
    from convert.publish.changes import rotate
    from convert.publish.roles import quorum

    changed = rotate(
        given.repo,
        keys_at_hand(given),
        given.role,
        _new_keys(given),
        only=given.only,
        quorum=quorum(given.quorum) if given.quorum else None,
        passphrase=passphrase(),
    )
    return _tell(given, changed, f"{given.role}: new keys")


def _renew(given: argparse.Namespace) -> int:
    from convert.publish.changes import renew

    renewed = renew(given.repo, keys_at_hand(given), given.roles)
    if given.json:
        expiring = {one.role: one.expires.isoformat() for one in renewed.expiring}
        print_json({"renewed": renewed.roles, "lacking": renewed.lacking, "expiring": expiring})
        return 0
    print(f"Signed anew: {', '.join(_shown(renewed.roles))}.")
    for one in renewed.expiring:
        print(
            f"{one.role} expires on {one.expires:%Y-%m-%d}, and its keys are not here: "
            f"edge-convert keys renew {one.role} where they are.",
            file=sys.stderr,
        )
    _tell_lacking(renewed.lacking)
    return 0


def _shown(roles: tuple[str, ...]) -> list[str]:
    """The lists of models in one word."""
    from convert.publish.roles import is_model_role

    lists = sum(is_model_role(role) for role in roles)
    shown = [role for role in roles if not is_model_role(role)]
    return (
        [*shown[:-1], f"the lists of {lists} models" if lists > 1 else "the list of 1 model", shown[-1]]
        if lists
        else shown
    )


def _sign(given: argparse.Namespace) -> int:
    from convert.publish.changes import discard_waiting, sign_waiting

    if given.discard:
        discard_waiting(given.repo)
        if given.json:
            print_json({"discarded": True})
        else:
            print("The change was dropped.")
        return 0
    return _tell(given, sign_waiting(given.repo, keys_at_hand(given)), "Signed")


def _new_keys(given: argparse.Namespace) -> Path:
    folder: Path = given.new_keys or key_folders(given)[0]
    return folder


def _tell(given: argparse.Namespace, changed: Changed, what: str) -> int:
    if given.json:
        value: dict[str, Any] = {"keys": [str(key) for key in changed.keys], "lacking": changed.lacking}
        print_json(value)
        return 0
    print(f"{what}.")
    for key in changed.keys:
        print(f"  {key}")
    _tell_lacking(changed.lacking)
    return 0


def _tell_lacking(lacking: tuple[str, ...]) -> None:
    if lacking:
        print(lacking_text(lacking), file=sys.stderr)
