"""The bars of the MQTT link, over a real mosquitto.

python benchmarks/mqtt.py
python benchmarks/mqtt.py --only reconnect --quick
"""

from __future__ import annotations

import argparse
import os
import platform
import sys
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

if __package__ in (None, ""):
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks import (
    mqtt_command_rows,
    mqtt_fleet_rows,
    mqtt_link_rows,
    mqtt_loss_rows,
    mqtt_outbox_rows,
    mqtt_serving_rows,
    rollout_rows,
)
from benchmarks.report import Row, run_rows

_GROUPS: dict[str, Callable[..., Iterator[Row]]] = {
    "reconnect": mqtt_link_rows.reconnect,
    "idle": mqtt_link_rows.idle,
    "command_kills": mqtt_command_rows.kills,
    "round_trip": mqtt_command_rows.round_trip,
    "fleet": mqtt_fleet_rows.fleet,
    "rollout": rollout_rows.rollout,
    "drain": mqtt_outbox_rows.drain,
    "serving": mqtt_serving_rows.serving,
    "month": mqtt_outbox_rows.month,
    "kills": mqtt_loss_rows.kills,
    "cut": mqtt_loss_rows.cut,
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
