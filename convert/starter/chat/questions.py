"""Questions about how things are: sensors, doors, devices, the clock, the system."""

from __future__ import annotations

from typing import Final

from convert.starter.chat.family import Family

QUESTIONS: Final = (
    Family(
        "read sensor",
        (
            "(what is|what's) the {sensor} in the {room}",
            "(what is|what's) the {sensor}( like|)( right now|)",
            "how (high|low|good|bad|much) is the {sensor}( in the {room}|)",
            "read (out |)the {sensor}( sensor|)( in the {room}|)",
            "(check|tell me|give me|show me|measure) the {sensor}( in the {room}|)",
            "(check|tell me|give me|show me|read) the {room} {sensor}",
            "is the {sensor} (okay|ok|normal|too high|too low)( in the {room}|)",
            "{room} {sensor}",
            "~the {sensor} in the {room} please",
        ),
        {"action": "check"},
        polite=False,
        weight=4,
    ),
    Family(
        "how warm",
        (
            "how (warm|hot|cold) is it( in the {room}| in here|)",
            "how (warm|hot|cold) is the {room}",
            "is it (warm|hot|cold) in the {room}",
            "~do i need a sweater in the {room}",
        ),
        {"action": "check", "target": "temperature"},
        polite=False,
    ),
    Family(
        "check door",
        (
            "is the {door} (locked|open|closed|shut|unlocked)",
            "(did i|have i|did anyone) (lock|locked|close|closed) the {door}",
            "(check|what about) the {door}",
            "(is|has) the {door} been (locked|closed|opened)",
            "~tell me (whether|if) the {door} is (locked|open|closed)",
        ),
        {"action": "check"},
        polite=False,
        weight=2,
    ),
    Family(
        "check cover",
        (
            "(is|are) the {cover} (open|closed|shut)( in the {room}|)",
            "(is|are) the {room} {cover} (open|closed|shut)",
            "~tell me (whether|if) the {room} {cover} are (open|closed)",
        ),
        {"action": "check"},
        polite=False,
        weight=1.5,
    ),
    Family(
        "check switch",
        (
            "(is|are) the {switch} (on|off|still on)( in the {room}|)",
            "(is|are) the {room} {switch} (on|off|still on)",
            "did i (leave|forget) the {switch} on( in the {room}|)",
            "(what's|what is) the status of the {switch}( in the {room}|)",
            "~tell me (whether|if) the {room} {switch} is (on|off)",
        ),
        {"action": "check"},
        polite=False,
        weight=2,
    ),
    Family(
        "check appliance",
        (
            "(report|tell me|give me|show|check) the (status|state) of the {appliance}",
            "(is|has) the {appliance} (done|finished|ready|running|on|still running)",
            "(what's|what is) the {appliance} doing",
            "(what's|what is) the (status|state) of the {appliance}",
            "(check|what about) the {appliance}",
            "~how far is the {appliance}",
        ),
        {"action": "check"},
        polite=False,
        weight=2,
    ),
    Family(
        "presence",
        (
            "(is |)(anyone|anybody|someone|somebody|there anyone) in the {room}",
            "who is in the {room}",
            "is (anyone|anybody|someone) (home|at home|here|there)",
            "~is the {room} (empty|occupied)",
        ),
        {"action": "check", "target": "presence"},
        polite=False,
        weight=1.5,
    ),
    Family(
        "check alarm",
        (
            "is the (alarm|alarm system|security system) (on|off|armed|set|active)",
            "~what about the (alarm system|security system)",
        ),
        {"action": "check", "target": "alarm"},
        polite=False,
        weight=0.7,
    ),
    Family(
        "offline",
        (
            "which devices are (offline|online|connected|on|missing)",
            "(are any|how many) devices (offline|online|connected)",
            "(list|show me|what are) (all |)(the |my |)devices",
            "~does every device answer",
        ),
        {"action": "check", "target": "devices"},
        polite=False,
    ),
    Family(
        "clock",
        (
            "what time is it( now|)",
            "(what's|what is) the time( now|)",
            "(tell|give) me the time",
            "(do you know|can you tell me) (the time|what time it is)",
            "how late is it",
            "~what does the clock say",
        ),
        {"action": "check", "target": "time"},
        polite=False,
    ),
    Family(
        "date",
        (
            "(what's|what is) (the date|today's date)( today|)",
            "what day is it( today|)",
            "which day is (it|today)",
            "~what does the calendar say",
        ),
        {"action": "check", "target": "date"},
        polite=False,
    ),
    Family(
        "system status",
        (
            "how are your systems",
            "(what's|what is) (your|the system) (status|state)",
            "(report|give me|show me) (your|the system|the) status",
            "system status",
            "status( report|)",
            "~is all well with the system",
        ),
        {"action": "check", "target": "system"},
        polite=False,
    ),
    Family(
        "memory",
        (
            "how much memory (is free|is left|do you have|do you use|is used|are you using)",
            "(what's|what is) (the|your) memory( usage| use|)",
            "~are you short of memory",
        ),
        {"action": "check", "target": "memory"},
        polite=False,
    ),
    Family(
        "network",
        (
            "(is|are) (the network|the internet|the wifi|you) (up|online|connected|working)",
            "do (you|we) have (internet|a network|wifi)",
            "~how is the connection",
        ),
        {"action": "check", "target": "network"},
        polite=False,
        weight=0.7,
    ),
)
