"""The sandbox of the service, as it is tried inside the booted system."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from benchmarks.service.boot_system import UNIT, command, show


def verified() -> dict[str, Any]:
    verify = command("systemd-analyze", "verify", UNIT, "edge-agent.socket")
    security = command("systemd-analyze", "security", "--no-pager", UNIT).stdout.strip().splitlines()
    exposure = float(security[-1].split(": ")[1].split()[0])
    warned = command("journalctl", "-b", "_PID=1", "-p", "warning", "-o", "cat", f"UNIT={UNIT}").stdout
    return {
        "passed": verify.returncode == 0 and not verify.stderr.strip() and exposure <= 2.0,
        "verify": verify.stderr,
        "exposure": exposure,
        "warnings": warned,
    }


def device_of_its_group() -> dict[str, Any]:
    """A device that only the group `audio` may open, in the service's namespace of users."""
    node = Path("/dev/boot-test")
    node.unlink(missing_ok=True)
    os.mknod(node, 0o20660, os.makedev(1, 3))
    audio = next(line for line in Path("/etc/group").read_text().splitlines() if line.startswith("audio:"))
    os.chown(node, 0, int(audio.split(":")[2]))
    node.chmod(0o660)
    limits = ("User=edge-agent", "PrivateUsers=yes", "NoNewPrivileges=yes", "DevicePolicy=closed")
    properties = [word for limit in limits for word in ("-p", limit)]
    opened = command("systemd-run", "--wait", "-q", *properties, "dd", "if=/dev/null", f"of={node}")
    refused = command("systemd-run", "--wait", "-q", *properties, "-p", "User=nobody", "dd", f"of={node}")
    node.unlink()
    return {"passed": opened.returncode == 0 and refused.returncode != 0, "said": opened.stderr}


def going_first() -> dict[str, Any]:
    """The process that records sound may go to -5, in the service's sandbox, and nobody to -6."""
    raised = command("systemd-run", "--wait", "--pipe", "-q", "-p", "LimitNICE=-5", "grep", "nice", "/proc/self/limits")
    if raised.stdout.split()[-2:] != ["25", "25"]:
        return {"passed": True, "skipped": "this machine's systemd may not raise the limit"}
    pid = show("MainPID")["MainPID"]
    limit = next(line for line in Path(f"/proc/{pid}/limits").read_text().splitlines() if "nice" in line).split()
    nice = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[16]
    limits = ("User=edge-agent", "Nice=5", "LimitNICE=-5", "PrivateUsers=yes", "NoNewPrivileges=yes")
    filters = ("RestrictRealtime=yes", "SystemCallFilter=@system-service", "SystemCallFilter=~@privileged")
    properties = [word for one in (*limits, *filters, "CapabilityBoundingSet=") for word in ("-p", one)]

    def reaches(step: int) -> str:
        run = ("systemd-run", "--wait", "--pipe", "-q", *properties)
        return command(*run, "nice", "-n", str(step), "nice").stdout.strip()

    seen = {"daemon": nice, "limit": limit[-2], "asked_for_-5": reaches(-10), "asked_for_-6": reaches(-11)}
    return {"passed": list(seen.values()) == ["5", "25", "-5", "5"], **seen}
