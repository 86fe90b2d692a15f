"""Requests to covers, doors, appliances, the alarm, and the system itself."""

from __future__ import annotations

from typing import Final

from convert.starter.chat.family import Family

HOUSE: Final = (
    Family(
        "open",
        (
            "open the {room} {cover}",
            "open (up |)the {cover}( in the {room}|)",
            "(raise|roll up|pull up|draw back) the {cover}( in the {room}|)",
            "open (up |)the {door}",
            "(i want|i'd like) the {cover} (in the {room} |)open",
            "~let (some |)air in through the {room} {cover}",
        ),
        {"action": "open"},
        weight=2,
    ),
    Family(
        "close",
        (
            "(close|shut) the {room} {cover}",
            "(close|shut) the {cover}( in the {room}|)",
            "(roll down|pull down|draw|drop) the {cover}( in the {room}|)",
            "(close|shut) the {door}",
            "(i want|i'd like) the {cover} (in the {room} |)(closed|shut)",
            "~the {cover} in the {room} (should|must) be (closed|shut)",
        ),
        {"action": "close"},
        weight=2,
    ),
    Family(
        "lock",
        ("lock (up |)the {door}", "(make sure|see that) the {door} is locked", "{door} lock", "~bolt the {door}"),
        {"action": "lock"},
        weight=1.5,
    ),
    Family(
        "unlock",
        (
            "unlock the {door}",
            "(let me in|let us in|let him in|let her in) (at|by|through) the {door}",
            "~take the lock off the {door}",
        ),
        {"action": "unlock"},
        weight=1.5,
    ),
    Family(
        "start",
        (
            "start the {appliance}",
            "(run|begin|launch|turn on|switch on) the {appliance}",
            "(get|set) the {appliance} (going|running)",
            "(start|run) the {appliance} now",
            "~put the {appliance} to work",
        ),
        {"action": "start"},
        weight=1.5,
    ),
    Family(
        "stop",
        (
            "stop the {appliance}",
            "(halt|end|turn off|switch off) the {appliance}",
            "stop the {appliance} (now|immediately)",
            "~no more of the {appliance}",
        ),
        {"action": "stop"},
        weight=1.5,
    ),
    Family(
        "pause",
        (
            "pause the {appliance} for {duration}",
            "pause the {appliance}",
            "(hold|interrupt|suspend) the {appliance}( for {duration}|)",
            "~(let|have) the {appliance} (wait|rest) for {duration}",
        ),
        {"action": "pause"},
        weight=1.5,
    ),
    Family(
        "resume",
        (
            "(resume|continue) the {appliance}",
            "(go on|carry on) with the {appliance}",
            "~the {appliance} (may|can) go on",
        ),
        {"action": "resume"},
    ),
    Family(
        "restart",
        (
            "(restart|reboot|reset) the {room} {switch}",
            "(restart|reboot|reset) the {switch}( in the {room}|)",
            "(restart|reset) the {appliance}",
            "turn the {switch} off and on again",
            "~give the {room} {switch} a restart",
        ),
        {"action": "restart"},
        weight=1.5,
    ),
    Family(
        "scene",
        (
            "(start|activate|turn on|switch on|enable) (the |){scene} (mode|scene)",
            "(switch|change|go) to (the |){scene} (mode|scene)",
            "set the scene to {scene}",
            "{scene} (mode|scene)( please|)",
            "~let us have {scene} mode",
        ),
        {"action": "start", "target": "scene"},
    ),
    Family(
        "arm",
        (
            "arm the (alarm|alarm system|security system)",
            "(turn|switch) on the alarm( system|)",
            "(turn|switch) the alarm( system|) on",
            "(set|activate|enable) the (alarm system|security system)",
            "~put the house on alert",
        ),
        {"action": "arm", "target": "alarm"},
    ),
    Family(
        "disarm",
        (
            "disarm the (alarm|alarm system|security system)",
            "(turn|switch) off the (alarm|alarm system|security system)",
            "(turn|switch) the (alarm|alarm system) off",
            "(deactivate|disable) the (alarm|alarm system|security system)",
            "~take the house off alert",
        ),
        {"action": "disarm", "target": "alarm"},
    ),
    Family(
        "self test",
        (
            "run a (self test|self-test|selftest|test|diagnosis|check)",
            "(test|check|diagnose) (yourself|your system)",
            "(do|perform|start) a (self test|self-test|system test)",
            "~find out whether you work (right|properly)",
        ),
        {"action": "test", "target": "system"},
    ),
    Family(
        "update model",
        (
            "update the model( now|)",
            "(install|get|download|load) the (new|latest|newest) model",
            "~bring the model up to date",
        ),
        {"action": "update", "target": "model"},
    ),
    Family(
        "update system",
        (
            "update (yourself|the system|the software|your software|the firmware)( now|)",
            "(install|get|download) the (latest|new) (software|update|updates|firmware)",
            "~bring yourself up to date",
        ),
        {"action": "update", "target": "system"},
    ),
    Family(
        "restart system",
        ("(restart|reboot|reset) (yourself|the system|the device)( now|)", "~start yourself again"),
        {"action": "restart", "target": "system"},
    ),
)
