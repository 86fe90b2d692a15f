"""The bars of the MQTT link, over a real mosquitto.

python -m benchmarks.mqtt
python -m benchmarks.mqtt --only reconnect --quick
"""

from __future__ import annotations

import argparse
import os
import platform
import sys
from collections.abc import Callable, Iterator
from functools import partial

from benchmarks.mqtt import command_rows, fleet_rows, link_rows, loss_rows, outbox_rows, rollout_rows, serving_rows
from benchmarks.report import Row, run_rows

_GROUPS: dict[str, Callable[..., Iterator[Row]]] = {
    "reconnect": link_rows.reconnect,
    "idle": link_rows.idle,
    "command_kills": command_rows.kills,
    "round_trip": command_rows.round_trip,
    "fleet": fleet_rows.fleet,
    "rollout": rollout_rows.rollout,
    "drain": outbox_rows.drain,
    "serving": serving_rows.serving,
    "month": outbox_rows.month,
    "kills": loss_rows.kills,
    "cut": loss_rows.cut,
}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", action="append", choices=[*_GROUPS], help="may be repeated")
    parser.add_argument("--quick", action="store_true", help="a smoke run: a tenth of the cases")
    arguments = parser.parse_args()
    groups: dict[str, Callable[[], Iterator[Row]]] = {
        name: partial(_GROUPS[name], quick=arguments.quick) for name in arguments.only or _GROUPS
    }
    facts = {"machine": platform.machine(), "cores": os.cpu_count(), "quick": arguments.quick}
    return 0 if run_rows(groups, facts) else 1


if __name__ == "__main__":
    sys.exit(main())
