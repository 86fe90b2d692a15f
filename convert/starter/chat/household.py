"""Requests about time and lists, and calls; and what is reported or said by figures."""

from __future__ import annotations

from typing import Final

from convert.starter.chat.family import Family

_LIST: Final = "(the (shopping |grocery |)list|my (shopping |grocery )list)"

HOUSEHOLD: Final = (
    Family(
        "timer",
        (
            "set (a|the) timer (for|to) {duration}",
            "(start|make|give me) a timer (for|of) {duration}",
            "(start|set) a {duration} timer",
            "timer {duration}",
            "timer for {duration}",
            "(tell|notify|alert) me in {duration}",
            "count down (from |){duration}",
            "~(ring|beep) when {duration} are over",
        ),
        {"action": "set", "target": "timer"},
        weight=3,
    ),
    Family(
        "cancel timer",
        (
            "(cancel|stop|delete|end|clear) (the|my) timer",
            "(i don't|i do not|we don't) need the timer( any more| anymore|)",
            "~forget about the timer",
        ),
        {"action": "cancel", "target": "timer"},
    ),
    Family(
        "pause timer",
        ("(pause|hold) the timer", "~let the timer wait"),
        {"action": "pause", "target": "timer"},
        weight=0.6,
    ),
    Family(
        "resume timer",
        ("(resume|continue) the timer", "~let the timer go on"),
        {"action": "resume", "target": "timer"},
        weight=0.6,
    ),
    Family(
        "check timer",
        (
            "how (long is left|much time is left|long is it|many minutes are left) on the timer",
            "how (long does|much longer does) the timer (run|take|have)",
            "(what's|what is) (left on|with) the timer",
            "when (does|will) the timer (end|ring|go off)",
            "~is the timer (nearly|almost) done",
        ),
        {"action": "check", "target": "timer"},
        polite=False,
    ),
    Family(
        "remind",
        (
            "remind me to {task}( tomorrow|) at {time}",
            "remind me( tomorrow|) at {time} to {task}",
            "(set|make|create|add) a reminder to {task} at {time}",
            "(don't|do not) let me forget to {task} at {time}",
            "at {time} remind me to {task}",
            "i (have|need) to {task} at {time}, remind me",
            "remind me to {task}",
            "~ping me at {time} so that i {task}",
        ),
        {"action": "remind"},
        weight=5,
    ),
    Family(
        "cancel reminder",
        ("(cancel|delete|remove|clear) (the|my) reminder(s|)", "~no reminder after all"),
        {"action": "cancel", "target": "reminder"},
        weight=0.7,
    ),
    Family(
        "check reminder",
        (
            "(what are|what's in|show me|list|read) my reminders",
            "do i have (any |)reminders",
            "~anything i wanted to be reminded of",
        ),
        {"action": "check", "target": "reminder"},
        polite=False,
        weight=0.7,
    ),
    Family(
        "wake",
        (
            "wake me( up|)( tomorrow|) at {time}",
            "wake me( up|) at {time} tomorrow",
            "(set|make) (an|the|my) alarm( clock|) (for|to|at) {time}",
            "get me (up|out of bed) at {time}",
            "i (want|need|have) to (get|be|wake) up at {time}",
            "alarm (at|for) {time}",
            "~make sure i am up by {time}",
        ),
        {"action": "wake"},
        weight=2.5,
    ),
    Family(
        "cancel alarm clock",
        (
            "(cancel|delete|turn off|switch off|stop) (the|my) alarm clock",
            "(don't|do not) wake me( up|)( tomorrow|)",
            "~let me sleep in",
        ),
        {"action": "cancel", "target": "alarm clock"},
    ),
    Family(
        "add item",
        (
            f"(add|put) {{item}} (to|on|onto) {_LIST}",
            f"(write|note) {{item}} on {_LIST}",
            "(we|i) need( to buy|) {item}",
            "(we're|we are|i'm|i am) (out of|running low on) {item}",
            "(remember|don't forget) to (buy|get) {item}",
            "{item} on the (shopping |)list",
            f"~{_LIST} needs {{item}}",
        ),
        {"action": "add", "target": "shopping list"},
        weight=4.5,
    ),
    Family(
        "remove item",
        (
            f"(remove|delete|take|strike|cross) {{item}} (from|off) {_LIST}",
            f"(take|cross) {{item}} off {_LIST}",
            "(we|i) (don't|do not) need {item}( any more| anymore|)",
            "(we have|i have|i bought|i got) {item}( already| now)",
            f"~{{item}} can go from {_LIST}",
        ),
        {"action": "remove", "target": "shopping list"},
        weight=3,
    ),
    Family(
        "add task",
        (
            "(add|put) {task} (to|on) my (to-do list|to do list|todo list|task list|tasks)",
            "~{task} goes on the task list",
        ),
        {"action": "add", "target": "task list"},
    ),
    Family(
        "check list",
        (
            f"(what's|what is) on {_LIST}",
            f"(read|show|tell)( me|) {_LIST}",
            "what do (we|i) (need to buy|have on the list)",
            f"~is there anything on {_LIST}",
        ),
        {"action": "check", "target": "shopping list"},
        polite=False,
    ),
    Family(
        "clear list",
        (
            f"(clear|empty|delete|wipe|reset) {_LIST}",
            "(clear|empty|delete) the (whole|entire) (shopping |)list",
            f"(remove|delete) everything from {_LIST}",
            f"~start {_LIST} from scratch",
        ),
        {"action": "clear", "target": "shopping list"},
    ),
    Family(
        "motion",
        (
            "(motion|movement) (detected |)in the {room}",
            "(someone|something|somebody) is moving in the {room}",
            "(there is|there's) (motion|movement) in the {room}",
            "~i saw something move in the {room}",
        ),
        {"action": "report", "target": "motion", "value": "detected"},
        polite=False,
        weight=1.5,
    ),
    Family(
        "door is open",
        ("the {door} is (still |)open", "(someone|somebody) left the {door} open", "~the {door} stands open"),
        {"action": "report", "value": "open"},
        polite=False,
    ),
    Family(
        "too high",
        (
            "the {sensor} is (too|very) {highlow}( in the {room}|)",
            "the {room} {sensor} is (too|very) {highlow}",
            "~we have a {highlow} {sensor} in the {room}",
        ),
        {"action": "report"},
        polite=False,
        weight=1.5,
    ),
    Family(
        "call number",
        (
            "(call|dial|phone|ring) {phone}",
            "(call|dial|phone) (the |)number {phone}",
            "~get me {phone} on the (phone|line)",
        ),
        {"action": "call"},
        weight=2.5,
    ),
    Family(
        "call person",
        (
            "(call|phone|ring|dial) {person}",
            "(make a call|place a call) to {person}",
            "i (want|need) to (talk|speak) to {person}",
            "~get {person} on the (phone|line)",
        ),
        {"action": "call"},
        weight=1.5,
    ),
    Family(
        "call for help",
        ("(call|dial|phone|ring) {emergency}", "~get {emergency} on the (phone|line)"),
        {"action": "call"},
        weight=0.5,
    ),
    Family(
        "digits",
        ("{digits}", "(the code|code|the pin|pin|my pin) is {digits}", "~enter {digits}"),
        {"action": "enter", "target": "code"},
        polite=False,
        weight=2.5,
    ),
    Family(
        "answer",
        ("the (answer|result|number|count) is {number}", "~{number} is the answer"),
        {"action": "enter", "target": "answer"},
        polite=False,
    ),
    Family(
        "never mind",
        (
            "never mind( that|)",
            "(forget it|forget that|cancel|cancel that|scratch that|stop that)",
            "(that's|that is) not what i (meant|wanted|said)",
            "(no|nope), (leave it|forget it|stop)",
            "~drop it",
        ),
        {"action": "cancel"},
        polite=False,
    ),
)
