"""`edge-agent service`: put edge-agent under systemd or launchd, take it away again, and see how it is doing."""

from __future__ import annotations

import argparse
import os
import pwd
import sys
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from agent.commands.call import Call
from agent.config import CONFIG_VARIABLE, SYSTEM_FILE, load_settings
from agent.errors import ConfigError, UnavailableError
from agent.hardware import board as boards
from agent.hardware.command import run_command
from agent.hardware.profile import choose, load_profiles
from agent.instance import SERVICE_STATE_DIR
from agent.service import plan as plans
from agent.service.apply import apply
from agent.service.place import find_program, folder_bytes, needed_paths, person_from
from agent.service.plan import How, Plan
from agent.service.state import ServiceState, read_state
from agent.service.units import BOARD_DEVICES, Wish, board_drop_in
from agent.settings import Settings
from agent.settings import flags as every_flag
from agent.terminal import print_json, size

DARWIN = sys.platform == "darwin"


def add_arguments(parser: argparse.ArgumentParser, common: argparse.ArgumentParser) -> None:
    commands = parser.add_subparsers(dest="service_command", metavar="COMMAND", required=True)

    def add(name: str, help: str) -> argparse.ArgumentParser:
        made = commands.add_parser(name, help=help, description=help, parents=[common], allow_abbrev=False)
        made.add_argument("--user", action="store_true", help="a service of yours, not of the machine; needs no root")
        return made

    install = add("install", "write the units with this board's limits, and start the service")
    install.add_argument("--on-demand", action="store_true", help="start with the first request, not at boot")
    install.add_argument("--no-start", action="store_true", help="leave the start to the next boot")
    uninstall = add("uninstall", "stop the service and remove all that install and the service made, models included")
    uninstall.add_argument("--keep-state", action="store_true", help="leave models, databases and their user")
    uninstall.add_argument("--yes", action="store_true", help="delete models without asking")
    for changing in (install, uninstall):
        changing.add_argument("--dry-run", action="store_true", help="only print what would be done")
        changing.add_argument("--root", metavar="DIR", help="work on the system image in DIR, and start nothing")
    status = add("status", "print how the service is doing; exit status 1 if it does not run")
    status.add_argument("--json", action="store_true", help="print JSON, for scripts")


def run(call: Call) -> int:
    options = call.options
    if options.service_command == "status":
        return _status(call)
    how = How(
        root=Path(options.root).absolute() if options.root else Path("/"),
        on_demand=getattr(options, "on_demand", False),
        start=not getattr(options, "no_start", False),
        keep_state=getattr(options, "keep_state", False),
    )
    if options.service_command == "install":
        plan = _install(call, how)
    else:
        plan = _uninstall(call, how)
        if not options.dry_run and not options.yes and not _agreed(plan, how):
            return 1
    if options.dry_run:
        print(_described(plan))
        return 0
    if how.live and not options.user and os.geteuid() != 0:
        raise UnavailableError(
            "Only root can change the machine's services.",
            hint=f"sudo {find_program()} service {options.service_command}, or with --user for one of yours.",
        )
    apply(plan)
    print(_done(call, how, plan))
    return 0


def _install(call: Call, how: How) -> Plan:
    options, person = call.options, person_from(os.environ)
    settings = call.settings if options.user or DARWIN else _service_settings(call)
    _check_binding(settings)
    wish = _wish(call, settings)
    if DARWIN:
        return plans.launchd_install(wish, how, person, user=options.user)
    if options.user:
        return plans.user_install(wish, how, person)
    return plans.system_install(wish, how, _board_text(settings, how))


def _uninstall(call: Call, how: How) -> Plan:
    options, person = call.options, person_from(os.environ)
    if DARWIN:
        return plans.launchd_uninstall(how, person, user=options.user)
    return plans.user_uninstall(how, person) if options.user else plans.system_uninstall(how)


def _service_settings(call: Call) -> Settings:
    """The settings as the service will read them: not from the home folder of who installs it."""
    config = call.config or (SYSTEM_FILE if SYSTEM_FILE.exists() else None)
    home = str(SERVICE_STATE_DIR)
    environment = {"HOME": home, "XDG_CONFIG_HOME": f"{home}/.config", "STATE_DIRECTORY": home}
    return load_settings(call.flags, config=config, environment=environment)


def _wish(call: Call, settings: Settings) -> Wish:
    """What was asked for by flags becomes variables of the service, because they stand above agent.toml there, too."""
    if call.flags.get("api_keys"):
        raise ConfigError(
            "A key on this command line would end up in a unit file, which everybody may read.",
            hint=f"Put it into {SYSTEM_FILE} under [[api_keys]], and let only root and {plans.USER} read that.",
            param="api_keys",
        )
    known = every_flag()
    environment = {
        known[name].environment: str(value[-1] if isinstance(value, list) else value)
        for name, value in call.flags.items()
        if value is not None and name in known
    }
    if call.config is not None:
        environment[CONFIG_VARIABLE] = str(settings.config_file)
    program = find_program()
    own_state = settings.state_dir != SERVICE_STATE_DIR and (
        call.flags.get("state_dir") is not None or settings.config_file is not None
    )
    return Wish(
        program=str(program),
        environment=environment,
        host=settings.host,
        port=settings.port,
        reads=needed_paths(program, settings),
        state_dir=settings.state_dir if own_state else None,
    )


def _board_text(settings: Settings, how: How) -> str | None:
    """The drop-in of the board; None for an image that does not show which board it is for."""
    board = boards.detect() if how.live else boards.detect(how.root)
    if board.memory_total_bytes == 0:
        return None
    match = choose(board, load_profiles(), settings.profile)
    profile = match.profile.resolve(board, settings.profile_overrides, source=str(settings.config_file))
    devices = [device for device in BOARD_DEVICES if how.place(Path(device)).exists()]
    return board_drop_in(board, replace(match, profile=profile), profile, devices=devices)


def _check_binding(settings: Settings) -> None:
    from agent.api.keys import ApiKeys
    from agent.api.security import check_binding
    from agent.wiring import digests

    check_binding(settings.host, ApiKeys(digests(settings)))


def _agreed(plan: Plan, how: How) -> bool:
    """Whether models may go; asks only where somebody sits at a terminal and there is something to lose."""
    state = how.place(plans.STATE)
    held_bytes = folder_bytes(state) if state in plan.remove else 0
    if held_bytes < 1_000_000 or not sys.stdin.isatty():
        return True
    answer = input(f"This deletes {size(held_bytes)} of models and data in {state}. Go on? [y/N] ")
    return answer.strip().lower() in ("y", "yes")


def _described(plan: Plan) -> str:
    lines: list[str] = [f"run     {' '.join(command.argv)}" for command in plan.before]
    lines += [f"remove  {path}" for path in plan.remove if path.exists()]
    for path, data in plan.write.items():
        lines += [f"write   {path}", *(f"        {line}".rstrip() for line in data.decode().splitlines())]
    lines += [f"run     {' '.join(command.argv)}" for command in plan.after]
    return "\n".join(lines)


def _done(call: Call, how: How, plan: Plan) -> str:
    options = call.options
    if options.service_command == "uninstall":
        kept = f"; {how.place(plans.STATE)} was kept" if how.keep_state else ""
        return f"edge-agent is no service any more{kept}."
    files = "\n".join(f"  {path}" for path in plan.write)
    if not how.live:
        return f"Written into {how.root}:\n{files}"
    if DARWIN:
        return f"edge-agent is a service now:\n{files}\n"
    more = "edge-agent status asks the daemon, edge-agent service status asks systemd."
    scope = " --user" if options.user else ""
    more += f"\njournalctl{scope} -u edge-agent -f follows the log."
    if options.user and not Path(f"/var/lib/systemd/linger/{pwd.getpwuid(os.geteuid()).pw_name}").exists():
        more += "\nIt runs while you are logged in; loginctl enable-linger makes it run from boot on."
    started = "starts with the first request" if options.on_demand else "runs" if how.start else "starts at boot"
    return f"edge-agent {started}:\n{files}\n\n{more}"


def _status(call: Call) -> int:
    if DARWIN:
        text = run_command(("launchctl", "list", "org.edge-agent")) or ""
        running = '"PID"' in text
        if call.options.json:
            print_json({"installed": bool(text), "active": "active" if running else "inactive"})
        else:
            print("running" if running else "installed, not running" if text else "not installed")
        return 0 if running else 1
    state = read_state(run_command, user=call.options.user)
    if call.options.json:
        print_json(state.value())
    else:
        print(_lines(state))
    return 0 if state.active == "active" else 1


def _lines(state: ServiceState) -> str:
    if not state.installed:
        return "not installed; sudo edge-agent service install does it"
    pid = f", pid {state.pid}" if state.pid else ""
    restarts = f", restarted {state.restarts} times" if state.restarts else ""
    result = f", last result {state.result}" if state.result not in ("", "success") else ""
    lines = [f"service  {state.active} ({state.detail}){pid}, {state.enabled} at boot{restarts}{result}"]
    if state.status:
        lines.append(f"         {state.status}")
    if state.socket:
        lines.append(f"socket   {state.socket}")
    limits: Mapping[str, int | None] = {"taken back from": state.memory_high_bytes, "at most": state.memory_max_bytes}
    parts = [f"{what} {size(value)}" for what, value in limits.items() if value is not None]
    if state.memory_bytes is not None:
        parts.insert(0, size(state.memory_bytes))
    lines.append(f"memory   {', '.join(parts) or 'not counted'}")
    for worker in state.workers:
        most = f" of {size(worker.limit_bytes)}" if worker.limit_bytes is not None else ""
        lines.append(f"worker   {worker.name}: {size(worker.memory_bytes or 0)}{most}")
    return "\n".join([*lines, *(f"file     {file}" for file in state.files)])
