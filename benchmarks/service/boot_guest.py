"""Runs inside the booted system, as root, with nothing but the standard library: installs the service and tries it.

Prints nothing; its findings go to a JSON file, one object per check, in the order in which they were made. It is called
at both boots: the second one finds what the first one left.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
import urllib.error
from collections.abc import Callable
from pathlib import Path
from typing import Any

from benchmarks.service import boot_sandbox
from benchmarks.service.boot_system import (
    UNIT,
    children,
    command,
    get,
    healthy,
    journal,
    memory_kib,
    post,
    show,
    wait_for,
)

RESULT = Path("/boot-result.json")
STATE = "/var/lib/edge-agent"
STAGING = Path(STATE, "models/.staging")
EMBED = {"model": "starter-embed", "input": "the kettle boils"}
CHAT = {"model": "tiny", "messages": [{"role": "user", "content": "Hello"}], "max_tokens": 8}


class Guest:
    """`patience` stretches every wait: an emulated processor is thirty times slower."""

    def __init__(self, program: str, *, patience: float, gguf: str | None, update: str) -> None:
        self.program = program
        self.update = update
        """Where two versions of the model `kettle` lie, `-1` and `-2`, which run on an emulated processor, too."""
        self.patience = patience
        self.gguf = gguf
        self.found: list[dict[str, Any]] = json.loads(RESULT.read_text()) if RESULT.exists() else []

    def check(self, name: str, work: Callable[[], dict[str, Any]]) -> None:
        """`work` gives what was seen, with `passed`; raising is a failure."""
        began = time.monotonic()
        try:
            seen = work()
        except Exception as error:
            seen = {"passed": False, "error": f"{type(error).__name__}: {error}"[:2000]}
        self.found.append({"name": name, "took_s": round(time.monotonic() - began, 2), **seen})
        RESULT.write_text(json.dumps(self.found))
        os.sync()

    def install(self) -> dict[str, Any]:
        done = command(self.program, "service", "install", timeout_s=240 * self.patience)
        shown = show("User", "MainPID", "StatusText", "ActiveState", "NRestarts", "MemoryMax")
        status = Path(f"/proc/{shown['MainPID']}/status").read_text()
        fields = dict(line.split(":\t", 1) for line in status.splitlines() if ":\t" in line)
        return {
            "passed": done.returncode == 0 and shown["ActiveState"] == "active",
            "said": done.stdout + done.stderr,
            **shown,
            "uid": fields["Uid"].split()[0],
            "capabilities": fields["CapEff"],
            "no_new_privileges": fields["NoNewPrivs"],
            "seccomp": fields["Seccomp"],
        }

    def answers(self) -> dict[str, Any]:
        vectors = post("/v1/embeddings", EMBED, 120 * self.patience)
        seen: dict[str, Any] = {"dimensions": len(vectors["data"][0]["embedding"]), "passed": True}
        if self.gguf:
            done = command(self.program, "models", "import", self.gguf, "--name", "tiny", "--state-dir", STATE)
            seen["import"] = done.stdout + done.stderr
            command("systemctl", "reload", "edge-agent")
            wait_for(lambda: "tiny" in json.dumps(get("/v1/models")), 30)
            text = post("/v1/chat/completions", CHAT, 60)["choices"][0]["message"]["content"]
            seen |= {"text": text, "passed": bool(text)}
        seen["models"] = [model["id"] for model in get("/v1/models")["data"]]
        seen["devices"] = get("/v1/audio/devices")["devices"]
        return seen

    def groups(self) -> dict[str, Any]:
        """Version 2: the daemon in its leaf, each worker in its group with a limit. Version 1: said in the log."""
        pid, group = show("MainPID", "ControlGroup").values()
        folder = Path("/sys/fs/cgroup") / group.strip("/")
        if not Path("/sys/fs/cgroup/cgroup.controllers").exists():
            text = journal()
            return {"version": 1, "passed": "version 1 of the control groups" in text}
        workers = {
            place.name: {
                "max": (place / "memory.max").read_text().strip(),
                "current": (place / "memory.current").read_text().strip(),
                "oom_group": (place / "memory.oom.group").read_text().strip(),
                "processes": (place / "cgroup.procs").read_text().split(),
            }
            for place in folder.glob("worker-*")
        }
        in_leaf = pid in (folder / "daemon/cgroup.procs").read_text().split()
        limited = [one for one in workers.values() if one["max"] != "max" and one["processes"]]
        passed = in_leaf and len(limited) == len(workers) > 0
        return {"version": 2, "passed": passed, "daemon_in_leaf": in_leaf, "workers": workers}

    def fields(self) -> dict[str, Any]:
        """journald's own fields: the lines of one model, among them that of a request."""
        lines = journal("-o", "json", "EDGE_AGENT_MODEL=starter-embed").splitlines()
        entries = [json.loads(line) for line in lines if line.startswith("{")]
        requests = [entry for entry in entries if entry.get("EDGE_AGENT_REQUEST_ID")]
        identifiers = {str(entry["SYSLOG_IDENTIFIER"]) for entry in entries}
        example = {key: value for key, value in (requests or [{}])[0].items() if not key.startswith("_")}
        passed = bool(requests) and identifiers == {"edge-agent"}
        return {"passed": passed, "lines": len(entries), "requests": len(requests), "example": example}

    def worker_dies_alone(self) -> dict[str, Any]:
        """The service may hold little more than it does, and a worker gets a large request: the kernel chooses it."""
        post("/v1/embeddings", EMBED, 120 * self.patience)
        before = show("MainPID", "NRestarts")
        if not show("MemoryCurrent")["MemoryCurrent"].isdecimal():
            return {"passed": True, "skipped": "nothing counts memory here"}
        daemon = int(before["MainPID"])
        workers = children(daemon)
        held_mib = sum(memory_kib(pid, "RssAnon") for pid in [daemon, *workers]) // 1024
        limit = f"{held_mib + 12}M"
        command("systemctl", "set-property", "--runtime", UNIT, f"MemoryMax={limit}", "MemoryHigh=infinity")
        large = {"model": "starter-embed", "input": ["the kettle boils over and over " * 24] * 128}
        error = ""
        try:
            post("/v1/embeddings", large, 120 * self.patience)
        except urllib.error.HTTPError as refused:
            error = refused.read().decode("utf-8", "replace")[:400]
        gone = wait_for(lambda: not set(workers) <= set(children(daemon)), 5 * self.patience)
        command("systemctl", "set-property", "--runtime", UNIT, "MemoryMax=80%", "MemoryHigh=75%")
        again = wait_for(lambda: bool(post("/v1/embeddings", EMBED, 60 * self.patience)), 60 * self.patience)
        after = show("MainPID", "NRestarts", "ActiveState")
        log = [line for line in journal().splitlines() if "SIGKILL" in line or "the kernel killed" in line]
        same = {key: after[key] for key in before} == before
        return {
            "passed": gone and same and after["ActiveState"] == "active" and again,
            "limit": limit,
            "error": error,
            "worker_gone": gone,
            "answers_again": again,
            "before": before,
            "after": after,
            "log": log[-3:],
            "kernel": [line for line in command("dmesg").stdout.splitlines() if "oom" in line.lower()][-3:],
        }

    def worker_limit(self) -> dict[str, Any]:
        """Version 2: one worker's own limit is lowered below what it holds; the others and the daemon stay."""
        post("/v1/embeddings", EMBED, 120 * self.patience)
        group = Path("/sys/fs/cgroup") / show("ControlGroup")["ControlGroup"].strip("/")
        place = group / "worker-starter-embed"
        if not place.exists():
            return {"passed": True, "skipped": "no control group of its own"}
        before = show("MainPID", "NRestarts")
        worker = (place / "cgroup.procs").read_text().split()
        with contextlib.suppress(OSError):
            (place / "memory.max").write_text(str(16 << 20))
        gone = wait_for(lambda: not Path(f"/proc/{worker[0]}").exists(), 30 * self.patience)
        again = wait_for(lambda: bool(post("/v1/embeddings", EMBED, 60 * self.patience)), 60 * self.patience)
        log = [line for line in journal().splitlines() if "the kernel killed" in line]
        same = show("MainPID", "NRestarts") == before
        return {"passed": gone and again and same and bool(log), "same_daemon": same, "log": log[-1:]}

    def watchdog(self) -> dict[str, Any]:
        before = show("MainPID", "NRestarts", "WatchdogUSec")
        pid = int(before["MainPID"])
        os.kill(pid, signal.SIGSTOP)
        began = time.monotonic()
        restarted = wait_for(lambda: int(show("NRestarts")["NRestarts"]) > int(before["NRestarts"]), 60 * self.patience)
        noticed_s = time.monotonic() - began
        ready = wait_for(healthy, 60 * self.patience)
        text = journal()
        return {
            "passed": restarted and ready and not Path(f"/proc/{pid}").exists(),
            "noticed_s": round(noticed_s, 1),
            "ready_s": round(time.monotonic() - began, 1),
            "said_where": "Current thread" in text or "Thread 0x" in text,
            "limit": before["WatchdogUSec"],
        }

    def killed(self) -> dict[str, Any]:
        before = show("MainPID")
        os.kill(int(before["MainPID"]), signal.SIGKILL)
        began = time.monotonic()
        restarted = wait_for(lambda: show("MainPID") not in (before, {"MainPID": "0"}), 30 * self.patience)
        ready = wait_for(healthy, 60 * self.patience)
        return {"passed": restarted and ready, "ready_s": round(time.monotonic() - began, 1)}

    def activation(self) -> dict[str, Any]:
        command("systemctl", "stop", UNIT)
        stopped = show("ActiveState")["ActiveState"]
        began = time.monotonic()
        health = get("/health", 120 * self.patience)
        took_s = time.monotonic() - began
        shown = show("ActiveState", "MainPID")
        passed = stopped == "inactive" and shown["ActiveState"] == "active"
        return {"passed": passed, "first_answer_s": round(took_s, 2), "health": health}

    def restart_refuses_nobody(self) -> dict[str, Any]:
        """While systemd restarts the service, its socket keeps who comes."""
        restart = subprocess.Popen(["systemctl", "restart", UNIT])
        refused, answered, slowest_s = 0, 0, 0.0
        while restart.poll() is None or answered == 0:
            began = time.monotonic()
            try:
                get("/health", 60 * self.patience)
                answered += 1
            except urllib.error.HTTPError:
                answered += 1  # 503 while it drains is an answer
            except (OSError, ValueError):
                refused += 1
            slowest_s = max(slowest_s, time.monotonic() - began)
            time.sleep(0.05)
        return {"passed": refused == 0, "refused": refused, "answered": answered, "slowest_s": round(slowest_s, 2)}

    def half_an_update(self) -> dict[str, Any]:
        """A second version is on its way into the store, and stopped there; the machine is reset right after this."""
        command_line = (self.program, "models", "import", "--state-dir", STATE)
        first = command(*command_line, f"{self.update}-1", timeout_s=60 * self.patience)
        command("systemctl", "reload", "edge-agent")
        known = wait_for(lambda: "kettle" in json.dumps(get("/v1/models")), 30 * self.patience)
        second = subprocess.Popen([*command_line, "--activate", f"{self.update}-2"])
        while second.poll() is None and not (staged := list(STAGING.glob("*/model.onnx"))):
            pass  # it takes a moment, in which it is to be stopped
        second.send_signal(signal.SIGSTOP)
        half = {path.name: path.stat().st_size for path in staged}
        passed = first.returncode == 0 and known and second.poll() is None
        return {"passed": passed, "said": first.stderr, "half_there": half}

    def after_reboot(self) -> dict[str, Any]:
        ready = wait_for(lambda: show("ActiveState")["ActiveState"] == "active" and healthy(), 120 * self.patience)
        models = [model["id"] for model in get("/v1/models")["data"]]
        wanted = ["kettle", *(["tiny"] if self.gguf else [])]
        answered = bool(post("/v1/embeddings", EMBED | {"model": "kettle"}, 120 * self.patience))
        if self.gguf:
            answered = answered and bool(post("/v1/chat/completions", CHAT, 60)["choices"])
        listed = command(self.program, "models", "list", "--state-dir", STATE, timeout_s=60 * self.patience)
        left = sorted(path.name for path in STAGING.glob("*"))
        passed = ready and answered and set(models) >= set(wanted) and listed.returncode == 0 and not left
        return {"passed": passed, "models": models, "listed": listed.stdout + listed.stderr, "left": left}

    def uninstall(self) -> dict[str, Any]:
        done = command(self.program, "service", "uninstall", "--yes")
        places = ("/etc", "/var", "/run", "/usr/lib/systemd", "/sys/fs/cgroup")
        found = command("find", *places, "-name", "*edge-agent*", "-not", "-path", "/var/log/journal/*").stdout.split()
        users = command("getent", "passwd", "edge-agent").stdout + command("getent", "group", "edge-agent").stdout
        members = [line for line in Path("/etc/group").read_text().splitlines() if "edge-agent" in line]
        known = command("systemctl", "list-unit-files", "--no-legend", "edge-agent*").stdout
        alive = command("pgrep", "-f", "agent.engines.worker").stdout.split()
        passed = done.returncode == 0 and not (found or users or members or known or alive)
        left = {"files": found, "users": users, "members": members, "units": known, "processes": alive}
        return {"passed": passed, "left": left, "said": done.stdout + done.stderr}

    def first_boot(self) -> None:
        self.check("install", self.install)
        self.check("verify and security", boot_sandbox.verified)
        self.check("answers in the sandbox", self.answers)
        self.check("device of its group", boot_sandbox.device_of_its_group)
        self.check("going first", boot_sandbox.going_first)
        self.check("control groups", self.groups)
        self.check("journal fields", self.fields)
        self.check("worker over its own limit", self.worker_limit)
        self.check("MemoryMax kills the worker alone", self.worker_dies_alone)
        self.check("watchdog restarts a stopped daemon", self.watchdog)
        self.check("killed daemon comes back", self.killed)
        self.check("socket activation", self.activation)
        self.check("restart refuses nobody", self.restart_refuses_nobody)
        self.check("half an update", self.half_an_update)

    def second_boot(self) -> None:
        self.check("after the reboot", self.after_reboot)
        self.check("uninstall leaves nothing", self.uninstall)


def main() -> None:
    settings = json.loads(Path(sys.argv[1]).read_text())
    guest = Guest(settings["program"], patience=settings["patience"], gguf=settings["gguf"], update=settings["update"])
    if guest.found:
        guest.second_boot()
        subprocess.run(["systemctl", "poweroff"])
    else:
        guest.first_boot()
        subprocess.run(["systemctl", "reboot", "--force"] if settings["clean_reboot"] else ["reboot", "-ff"])


if __name__ == "__main__":
    main()
