"""What people talk about that is none of this model's business: subjects, people, places, gadgets it does not know."""

from __future__ import annotations

import random
from collections.abc import Mapping
from typing import Final

from convert.starter.chat import numbers
from convert.starter.chat.family import Slot
from convert.starter.chat.numbers import Said
from convert.starter.chat.slots import made_up

_TOPICS: Final = (
    *(
        "quantum physics",
        "black holes",
        "the moon",
        "the sun",
        "mars",
        "gravity",
        "evolution",
        "dinosaurs",
        "the ocean",
    ),
    *("volcanoes", "earthquakes", "climate change", "electricity", "magnets", "atoms", "dna", "vaccines", "viruses"),
    *("the brain", "dreams", "philosophy", "history", "the roman empire", "world war two", "the middle ages", "egypt"),
    *("money", "bitcoin", "the stock market", "inflation", "taxes", "politics", "democracy", "the constitution", "war"),
    *("football", "tennis", "chess", "the olympics", "basketball", "music theory", "painting", "movies", "star wars"),
    *("cats", "dogs", "elephants", "birds", "bees", "sharks", "whales", "horses", "spiders", "trees", "roses"),
    *("pizza", "sushi", "coffee beans", "chocolate cake", "bread baking", "wine making", "cheese making", "diets"),
    *("computers", "the internet", "python", "linux", "programming", "robots", "artificial intelligence", "telephones"),
    *("airplanes", "cars", "trains", "ships", "bicycles", "rockets", "bridges", "skyscrapers", "the eiffel tower"),
    *("mathematics", "geometry", "algebra", "prime numbers", "infinity", "time travel", "relativity", "photosynthesis"),
    *("religion", "the bible", "buddhism", "yoga exercises", "marriage", "children", "school", "universities", "jobs"),
    *(
        "shakespeare",
        "poetry",
        "novels",
        "fairy tales",
        "dragons",
        "ghosts",
        "aliens",
        "magic",
        "superheroes",
        "santa claus",
    ),
    *("a transistor", "a cell", "an engine", "a rainbow", "the weather forecast model", "a contract", "a mortgage"),
    *("the speed of light", "the big bang", "the universe", "water pollution", "oxygen", "gold", "diamonds", "plastic"),
)
_FAMOUS: Final = (
    *("albert einstein", "napoleon", "shakespeare", "the president", "the king", "the pope", "cleopatra", "the queen"),
    *("leonardo da vinci", "beethoven", "elvis", "michael jackson", "taylor swift", "the prime minister", "batman"),
    *("isaac newton", "marie curie", "gandhi", "picasso", "my neighbor", "your mother", "the mayor", "my boss", "god"),
)
_PLACES: Final = (
    *("france", "germany", "italy", "spain", "china", "japan", "india", "brazil", "canada", "australia", "russia"),
    *("paris", "london", "berlin", "rome", "tokyo", "new york", "egypt", "kenya", "norway", "mexico", "poland", "peru"),
)
_GADGETS: Final = (
    *("elevator", "rocket", "car", "toaster", "blender", "doorbell", "fountain", "sauna", "piano", "robot dog", "boat"),
    *(
        "microwave",
        "fridge",
        "freezer",
        "aquarium",
        "treadmill",
        "hot tub",
        "pool",
        "chimney",
        "siren",
        "drone",
        "clock",
    ),
    *(
        "dragon",
        "moon",
        "sun",
        "baby",
        "cat",
        "neighbor",
        "train",
        "bicycle",
        "mirror",
        "bed",
        "sofa",
        "laser",
        "scanner",
    ),
    *("hair dryer", "food processor", "electric blanket", "telescope", "typewriter", "helicopter", "garden gnome"),
)
_SKILLS: Final = (
    *(
        "cook rice",
        "bake a cake",
        "fix a bike",
        "tie a tie",
        "learn guitar",
        "make money",
        "lose weight",
        "write a book",
    ),
    *("build a house", "get a job", "draw a cat", "speak french", "fly a plane", "knit a scarf", "grow tomatoes"),
    *("repair my car", "install windows", "make a website", "sleep better", "be happy", "find friends", "boil eggs"),
)


def _one_of(names: tuple[str, ...], new: float) -> Slot:
    def slot(rng: random.Random) -> Said:
        name = rng.choice(names)
        if rng.random() < new:
            name = " ".join(made_up(rng) for _ in range(rng.randint(1, 2)))
        return name, {}

    return slot


def _number(rng: random.Random) -> Said:
    return numbers.said(rng.randint(0, 200), rng), {}


def _figure(rng: random.Random) -> Said:
    return str(rng.randint(0, 999)), {}


TOPIC_SLOTS: Final[Mapping[str, Slot]] = {
    "topic": _one_of(_TOPICS, 0.3),
    "famous": _one_of(_FAMOUS, 0.3),
    "place": _one_of(_PLACES, 0.2),
    "gadget": _one_of(_GADGETS, 0.35),
    "skill": _one_of(_SKILLS, 0.1),
    "noise": lambda rng: (made_up(rng), {}),
    "number": _number,
    "figure": _figure,
}
