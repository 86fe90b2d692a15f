"""Twenty conversations that the model card shows as the model answers them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

from convert.starter.chat.engine import Ask, ChatWorker
from convert.starter.chat.vocabulary import schema


@dataclass(frozen=True)
class Sample:
    """What the user says, turn after turn; with `json` under the schema of actions."""

    said: tuple[str, ...]
    system: str = ""
    json: bool = False


SAMPLES: Final = (
    Sample(("Hello!", "What is your name?", "What can you do?")),
    Sample(("Good morning", "Turn on the kitchen light, please.", "Thanks!")),
    Sample(("Turn on the kitchen light.",), json=True),
    Sample(("could you dim the lights in the living room to thirty percent",), json=True),
    Sample(("Set the bedroom to 21 degrees.", "make that nineteen degrees", "and the bathroom too"), json=True),
    Sample(("set a timer for five minutes", "How long is left on the timer?"), json=True),
    Sample(("Remind me to water the plants at half past six in the evening.", "cancel that"), json=True),
    Sample(("Add olive oil to the shopping list.", "and eggs"), json=True),
    Sample(("play some jazz in the office", "turn it up", "next song"), json=True),
    Sample(("Is the front door locked?", "Lock the front door."), json=True),
    Sample(("What is the temperature?", "And how much memory is free?"), "temperature: 54 C\nmemory: 312 MB free"),
    Sample(("What is the temperature in the garden?", "what time is it"), "garden temperature: 8.5 C\ntime: 17:43"),
    Sample(("How warm is it in the office?",)),
    Sample(("What is your status?",), "temperature: 48 C\nnetwork: online\ntime: 7:05"),
    Sample(("Who was Napoleon?", "Write me a poem about the sea.")),
    Sample(("What is seven times eight?", "Will it rain tomorrow?")),
    Sample(("I feel lonely today.", "Tell me a joke.")),
    Sample(("Do you send my voice to the cloud?", "How big are you?")),
    Sample(("There is a fire in the kitchen!",)),
    Sample(("You are great.", "That is all, goodbye.")),
)


def transcripts(worker: ChatWorker) -> list[str]:
    """Each conversation as lines of a model card, greedily answered."""
    return [_transcript(worker, sample) for sample in SAMPLES]


def _transcript(worker: ChatWorker, sample: Sample) -> str:
    messages: list[dict[str, Any]] = [{"role": "system", "content": sample.system}] if sample.system else []
    lines = [f"*System: {' · '.join(sample.system.splitlines())}*"] if sample.system else []
    for text in sample.said:
        messages.append({"role": "user", "content": text})
        (answer,) = worker.answers([Ask(tuple(messages), schema() if sample.json else None)])
        messages.append({"role": "assistant", "content": answer})
        lines += [f"**{text}**", f"`{answer}`" if sample.json else answer]
    return "  \n".join(lines)
