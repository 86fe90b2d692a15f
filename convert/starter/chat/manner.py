"""How a request comes: politely or not, with a filler word, a slip of the tongue or the keyboard, a full stop.

User messages are lower case: the chat template lowers them.
"""

from __future__ import annotations

import random
from collections.abc import Collection
from typing import Final

from convert.starter.chat.family import Request

_BEFORE_VERB: Final = (
    *(
        "please ",
        "please ",
        "can you ",
        "could you ",
        "can you please ",
        "could you please ",
        "would you ",
        "will you ",
    ),
    *("i want you to ", "i'd like you to ", "i need you to ", "go ahead and ", "just ", "now ", "hey ", "hey, "),
    *("hey edge agent, ", "edge agent, ", "edge agent ", "okay, ", "okay ", "so ", "would you please ", "you can "),
    *("computer, ", "ok now ", "and ", "then ", "hello, ", "hi, please "),
    *("could someone ", "somebody ", "do me a favor and ", "be so kind and ", "i was wondering if you could "),
    *("it would be nice if you could ", "would it be possible to ", "you should ", "time to ", "let's ", "we should "),
    *("can we ", "could we ", "i need to ", "i'd like to ", "i want to ", "try to ", "quickly ", "first ", "next, "),
)
_BEFORE_DOING: Final = ("would you mind ", "do you mind ", "how about ", "what about ", "would you consider ")
_CLAUSES: Final = (
    *("i'm going to bed", "i'm leaving", "we are leaving", "it's late", "i'm home", "i am back", "dinner is ready"),
    *("the kids are asleep", "i'm cooking", "we have guests", "it's getting late", "i'm in a hurry", "one more thing"),
    *("before i forget", "my hands are full", "i'm in bed", "if that's okay", "when you have a moment", "i'm tired"),
)
_BEFORE_QUESTION: Final = (
    *("hey, ", "please tell me ", "tell me ", "can you tell me ", "could you tell me ", "do you know ", "so ", "and "),
    *("hey edge agent, ", "edge agent, ", "okay, ", "i want to know ", "quick question, "),
)
_BEFORE_ANY: Final = ("hey ", "hey, ", "okay ", "okay, ", "please ", "edge agent, ", "well ", "so ")
_AFTER: Final = (
    *(" please", ", please", " now", " for me", ", thanks", " right now", " right away", ", will you", " if you can"),
    *(", thank you", " quickly", " for me please"),
)
_VERBS: Final = frozenset(
    (
        *("turn", "switch", "put", "activate", "enable", "power", "fire", "deactivate", "disable", "shut", "kill"),
        *("cut", "set", "dim", "bring", "make", "brighten", "raise", "lower", "change", "increase", "decrease"),
        *("reduce", "heat", "warm", "cool", "keep", "open", "roll", "pull", "draw", "drop", "close"),
        *("lock", "start", "run", "begin", "launch", "get", "stop", "halt", "end", "pause", "hold"),
        *("interrupt", "suspend", "resume", "continue", "restart", "reboot", "reset", "arm", "disarm", "test", "check"),
        *("diagnose", "do", "perform", "update", "install", "download", "load", "tell", "notify", "alert", "count"),
        *("cancel", "delete", "clear", "remind", "create", "add", "write", "note", "remember", "remove", "take"),
        *("strike", "cross", "read", "show", "empty", "wipe", "play", "skip", "mute", "unmute", "call"),
        *("dial", "phone", "ring", "give", "see", "let", "measure", "report", "list", "unlock", "wake"),
        *("go", "unpause", "adjust", "color", "paint", "illuminate", "light", "place"),
    )
)
_QUESTIONS: Final = frozenset(("what", "what's", "how", "which", "when", "who"))
_FILLERS: Final = ("um", "uh", "er", "well", "like", "you know")
_HEARD: Final = {
    heard[0]: tuple(heard[1:])
    for heard in (
        *(("off", "of"), ("lights", "lites", "light's"), ("for", "fur"), ("to", "too")),
        *(("the", "a", "da", "de"), ("please", "pleas", "plz", "pls"), ("you", "u", "ya"), ("are", "r")),
        *(("turn", "tern", "turned"), ("light", "lite"), ("what's", "whats"), ("i'd", "id"), ("don't", "dont")),
        *(("it's", "its"), ("i'm", "im"), ("can't", "cant"), ("in", "an", "and"), ("is", "as"), ("door", "dor")),
        *(("set", "sit", "said"), ("room", "rum")),
    )
}
"""What a recognizer or a hurried person makes of a word. None of them is a word that another request needs."""


def said(request: Request, rng: random.Random, *, polite: bool) -> str:
    """The request as a message: what goes before and after it, slips, punctuation."""
    return spoken(request.text, rng, polite=polite, keep=request.copied)


def spoken(text: str, rng: random.Random, *, polite: bool = False, keep: Collection[str] = ()) -> str:
    """`text` with manners and slips; words of `keep` stay as they are."""
    first = text.split(" ", 1)[0].strip(",")
    question = first in _QUESTIONS
    if polite or question:
        if rng.random() < 0.4:
            if first in _VERBS and rng.random() < 0.06:
                text = rng.choice(_BEFORE_DOING) + doing(first) + text[len(first) :]
            else:
                text = (
                    rng.choice(_BEFORE_QUESTION if question else _BEFORE_VERB if first in _VERBS else _BEFORE_ANY)
                    + text
                )
        if rng.random() < 0.2 and "please" not in text:
            text += rng.choice(_AFTER)
        elif rng.random() < 0.06:
            clause = rng.choice(_CLAUSES)
            text = f"{clause}, {text}" if rng.random() < 0.6 else f"{text}, {clause}"
    if rng.random() < 0.22:
        text = slip(text, rng, keep)
    return punctuated(
        text.lower(), rng, question=question or text.startswith(("can ", "could ", "would ", "is ", "are "))
    )


def doing(verb: str) -> str:
    """The verb as in "would you mind turning it off": turning."""
    if verb in ("set", "put", "cut", "get", "shut", "dim", "run", "stop", "skip", "let", "begin"):
        return f"{verb}{verb[-1]}ing"
    return f"{verb.removesuffix('e')}ing" if not verb.endswith("ee") else f"{verb}ing"


def punctuated(text: str, rng: random.Random, *, question: bool) -> str:
    if text.endswith(("?", ".", "!")):
        return text.rstrip("?.!") if rng.random() < 0.4 else text
    chance = rng.random()
    if chance < 0.45:
        return text.replace(",", "") if chance < 0.35 else text
    return text + ("?" if question and rng.random() < 0.9 else "!" if chance > 0.96 else ".")


def slip(text: str, rng: random.Random, keep: Collection[str] = ()) -> str:
    """One or two slips: a filler, a word left out or said twice, a word misheard, a letter wrong."""
    words = text.split(" ")
    for _ in range(1 if rng.random() < 0.75 else 2):
        at = rng.randrange(len(words))
        word = words[at]
        kind = rng.random()
        if kind < 0.2:
            words.insert(at, rng.choice(_FILLERS))
        elif kind < 0.4 and "the" in words and "the" not in keep and len(words) > 2:
            words.remove("the")
        elif kind < 0.48 and word.isalpha() and word not in keep:
            words.insert(at, word)
        elif kind < 0.72:
            at = rng.choice([i for i, w in enumerate(words) if w in _HEARD and w not in keep] or [at])
            words[at] = rng.choice(_HEARD.get(words[at], (words[at],)))
        elif len(word) > 3 and word.isalpha() and word not in keep:
            words[at] = mistyped(word, rng)
    return " ".join(words)


def mistyped(word: str, rng: random.Random) -> str:
    """One letter dropped, doubled, or swapped with the next; the first stays."""
    at = rng.randrange(1, len(word) - 1)
    kind = rng.randrange(3)
    if kind == 0:
        return word[:at] + word[at + 1 :]
    if kind == 1:
        return word[:at] + word[at] + word[at:]
    return word[:at] + word[at + 1] + word[at] + word[at + 2 :]
