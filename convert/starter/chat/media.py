"""Requests about music, channels and volume."""

from __future__ import annotations

from typing import Final

from convert.starter.chat.family import Family

MEDIA: Final = (
    Family(
        "play radio",
        (
            "play the radio in the {room}",
            "(play|put on) the radio",
            "let me hear the radio( in the {room}|)",
            "~some radio in the {room}",
        ),
        {"action": "play", "value": "radio"},
    ),
    Family(
        "play",
        (
            "play {music} in the {room}",
            "play {music}( for me|)",
            "(put on|start playing) {music}( in the {room}|)",
            "(i want|i would like|i'd like) to hear {music}( in the {room}|)",
            "~how about {music} in the {room}",
        ),
        {"action": "play"},
        weight=3,
    ),
    Family(
        "play music",
        (
            "(play|start|put on) (some |the |)music( in the {room}|)",
            "music( please|)",
            "music in the {room}",
            "~i feel like music",
        ),
        {"action": "play", "target": "music"},
    ),
    Family(
        "stop music",
        (
            "(stop|end|turn off|switch off) the music( in the {room}|)",
            "(no more|enough) music",
            "stop playing( music|)",
            "(be quiet|silence|quiet)( please|)",
            "~the music has to (stop|end)",
        ),
        {"action": "stop", "target": "music"},
    ),
    Family(
        "pause music",
        ("pause( the|) (music|song|playback)( in the {room}|)", "~(hold|interrupt) the music for a moment"),
        {"action": "pause", "target": "music"},
    ),
    Family(
        "resume music",
        ("(resume|continue|unpause)( the|) (music|song|playback)", "(go on|carry on) with the music", "~play on"),
        {"action": "resume", "target": "music"},
    ),
    Family(
        "next song",
        (
            "(next|skip this) (song|track|title)",
            "(skip|play) (the |)next (song|track)",
            "skip( it| this|)",
            "(i don't like|i hate) this song",
            "~another song",
        ),
        {"action": "next", "target": "song"},
    ),
    Family(
        "previous song",
        (
            "(previous|last) (song|track|title)",
            "(play|go back to) the (previous|last) (song|track)",
            "play (that|the song) again",
            "(go |)back (one|a) (song|track)",
            "~one song back",
        ),
        {"action": "previous", "target": "song"},
    ),
    Family(
        "next channel",
        ("(next|other) channel", "(switch|change|go) to the next channel", "channel up", "~one channel further"),
        {"action": "next", "target": "channel"},
        weight=0.7,
    ),
    Family(
        "previous channel",
        (
            "(previous|last) channel",
            "(switch|change|go) (back |)to the (previous|last) channel",
            "channel down",
            "~one channel back",
        ),
        {"action": "previous", "target": "channel"},
        weight=0.7,
    ),
    Family(
        "channel",
        (
            "(switch|change|go|turn) to channel {channel}",
            "(set|change) the (channel|tv|television) to (channel |){channel}",
            "channel {channel}",
            "put on channel {channel}",
            "~show me channel {channel}",
        ),
        {"action": "set", "target": "channel"},
    ),
    Family(
        "volume up",
        (
            "turn (the volume|it|the music|the sound) up( in the {room}|)",
            "turn up the (volume|music|sound)( in the {room}|)",
            "volume up",
            "(louder|make it louder)( please|)",
            "(increase|raise) the volume( by {step}|)",
            "(i can't|i cannot) hear (it|anything|the music)",
            "~a (bit|little) louder",
        ),
        {"action": "increase", "target": "volume"},
        weight=1.5,
    ),
    Family(
        "volume down",
        (
            "turn (the volume|it|the music|the sound) down( in the {room}|)",
            "turn down the (volume|music|sound)( in the {room}|)",
            "volume down",
            "(quieter|softer|make it quieter|not so loud)( please|)",
            "(decrease|reduce|lower) the volume( by {step}|)",
            "(it's|it is|that's|that is) too loud",
            "~a (bit|little) quieter",
        ),
        {"action": "decrease", "target": "volume"},
        weight=1.5,
    ),
    Family(
        "volume",
        (
            "(set|turn|change|put) the volume (to|at) {level}",
            "(set|turn|change|put) the volume (to|at) {percent}",
            "volume {level}",
            "volume (to|at) {percent}",
            "~i want the volume at {percent}",
        ),
        {"action": "set", "target": "volume", "unit": "percent"},
        weight=1.5,
    ),
    Family(
        "mute",
        (
            "mute( the (sound|volume|music|tv|television|speaker)|)( please|)",
            "(turn|switch) the sound off",
            "~no sound",
        ),
        {"action": "mute", "target": "volume"},
    ),
    Family(
        "unmute",
        (
            "unmute( the (sound|volume|music|tv|television|speaker)|)( please|)",
            "(turn|switch) the sound (back |)on",
            "~sound again",
        ),
        {"action": "unmute", "target": "volume"},
    ),
)
