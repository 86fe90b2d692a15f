"""Generated vocabularies: the size and the structure of published ones, with made-up words.

A tokenizer's memory and speed depend on how many tokens and merges it has, how long they are and how deep the merges
nest, not on which words they spell. Everything is a function of the sizes and the seed.
"""

from __future__ import annotations

import random
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

# Values of `tokenizer.ggml.token_type`, as in llama.cpp's llama.h (llama_token_type).
NORMAL, CONTROL, UNUSED = 1, 3, 5

END_OF_TEXT, IM_START, IM_END = "<|endoftext|>", "<|im_start|>", "<|im_end|>"

CHATML = (
    "{%- for message in messages -%}"
    "{{ '<|im_start|>' + message['role'] + '\\n' + (message['content'] or '') + '<|im_end|>' + '\\n' }}"
    "{%- endfor -%}"
    "{%- if add_generation_prompt -%}{{ '<|im_start|>assistant\\n' }}{%- endif -%}"
)

_CONSONANTS = "btndkmlrspfgvzhjcwxq"
_VOWELS = "aeiou"
_JSON_PAIRS = (
    ('"', ":"), ('"', ","), ("{", '"'), ("[", '"'), ('"', "}"), ('"', "]"), ("}", ","), ("]", ","), (" ", "{"),
    (" ", "["), (" ", '"'), (" ", " "), ("  ", "  "), ("    ", "    "), ("\n", "\n"), (",", "\n"), (".", "\n"),
)  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class Vocabulary:
    """What a GGUF file says about its tokenizer. `tokens[i]` is spelled as the format wants it, not as text."""

    model: str
    pre: str | None
    tokens: list[str]
    types: list[int]
    merges: list[str]
    special: dict[str, int]
    chat_template: str | None = None


def byte_characters() -> list[str]:
    """The printable character that stands for each byte in a byte-level BPE vocabulary (GPT-2's table)."""
    printable = [*range(33, 127), *range(161, 173), *range(174, 256)]
    table = {byte: chr(byte) for byte in printable}
    for byte in range(256):
        if byte not in table:
            table[byte] = chr(256 + len(table) - len(printable))
    return [table[byte] for byte in range(256)]


def bpe(*, tokens: int, padding: int = 0, seed: int = 0) -> Vocabulary:
    """A byte-level BPE vocabulary in Qwen2's layout: 256 bytes, merges, three special tokens, unused padding.

    Each merge makes one new token and refers only to tokens before it. Raises `ValueError` where `tokens` leaves no
    room for merges.
    """
    merge_count = tokens - 256 - 3 - padding
    if merge_count < 1:
        raise ValueError(f"tokens={tokens}: at least {256 + 3 + padding + 1} are needed")
    table = byte_characters()
    # Single bytes are numbered as GPT-2 does: the printable ones first.
    spelled = [chr(code) for code in (*range(33, 127), *range(161, 173), *range(174, 256), *range(256, 324))]
    merges: list[str] = []
    known = set(spelled)
    for left_text, right_text in _pairs(merge_count, random.Random(seed)):
        left = "".join(table[byte] for byte in left_text)
        right = "".join(table[byte] for byte in right_text)
        joined = left + right
        if joined in known or left not in known or right not in known:
            continue
        known.add(joined)
        spelled.append(joined)
        merges.append(f"{left} {right}")
        if len(merges) == merge_count:
            break
    first_special = len(spelled)
    spelled += [END_OF_TEXT, IM_START, IM_END, *(f"[PAD{tokens - padding + i}]" for i in range(padding))]
    return Vocabulary(
        model="gpt2",
        pre="qwen2",
        tokens=spelled,
        types=[NORMAL] * first_special + [CONTROL] * 3 + [UNUSED] * padding,
        merges=merges,
        special={"bos": first_special, "eos": first_special + 2, "padding": first_special},
        chat_template=CHATML,
    )


def _pairs(count: int, rng: random.Random) -> Iterator[tuple[bytes, bytes]]:
    """Merges in order of rank: syllables, JSON, characters beyond ASCII, then words that grow by a syllable."""
    syllables = [(c, v) for c in _CONSONANTS for v in _VOWELS]
    yield from _encoded(syllables)
    yield from _encoded(_JSON_PAIRS)
    yield from _encoded((" ", c) for c in _CONSONANTS)
    yield from _multibyte(count // 6, rng)
    cv = [c + v for c, v in syllables]
    words = rng.sample([(a, b) for a in cv for b in cv], k=min(len(cv) ** 2, count // 4))
    yield from _encoded(words)
    grown = [a + b for a, b in words]
    yield from _encoded((" ", word) for word in grown)
    yield from _encoded((" ", syllable) for syllable in cv)
    yield from _encoded((c.upper(), v) for c, v in syllables)
    endings = [*cv, *"nrsltdmk"]
    # Each later word extends a random earlier one, which gives the nesting and the lengths (6-7 bytes at the mean)
    # of a trained vocabulary.
    while True:
        word, ending = rng.choice(grown), rng.choice(endings)
        if len(word) > 10:
            continue
        yield word.encode(), ending.encode()
        yield b" ", (word + ending).encode()
        grown.append(word + ending)


def _encoded(pairs: Iterable[tuple[str, str]]) -> Iterator[tuple[bytes, bytes]]:
    for left, right in pairs:
        yield left.encode(), right.encode()


def _multibyte(count: int, rng: random.Random) -> Iterator[tuple[bytes, bytes]]:
    """About `count` merges that build characters of two, three and four bytes, byte after byte, as BPE learns them."""
    characters = [chr(rng.randrange(0xC0, 0x250)) for _ in range(count // 10)]
    characters += [chr(rng.randrange(0x4E00, 0x9FFF)) for _ in range(count * 8 // 10)]
    characters += [chr(rng.randrange(0x1F300, 0x1F600)) for _ in range(count // 10)]
    for character in characters:
        encoded = character.encode()
        for cut in range(1, len(encoded)):
            yield encoded[:cut], encoded[cut : cut + 1]


def wordpiece(*, tokens: int, seed: int = 0) -> Vocabulary:
    """A WordPiece vocabulary in BERT's layout, spelled as llama.cpp wants it: a word's start carries U+2581.

    Every printable ASCII character is a token, at the start of a word and inside one. Raises `ValueError` where
    `tokens` leaves no room for them.
    """
    characters = [chr(code) for code in range(33, 127) if not chr(code).isupper()]
    fixed = 104 + 2 * len(characters)
    if tokens < fixed:
        raise ValueError(f"tokens={tokens}: at least {fixed} are needed")
    special = {"padding": 0, "unknown": 100, "bos": 101, "separator": 102, "mask": 103}
    names = {0: "[PAD]", 100: "[UNK]", 101: "[CLS]", 102: "[SEP]", 103: "[MASK]"}
    spelled = [names.get(i, f"[unused{i}]") for i in range(104)]
    types = [CONTROL if i in names else UNUSED for i in range(104)]
    spelled += [f"▁{c}" for c in characters] + characters
    known = set(spelled)
    rng = random.Random(seed)
    while len(spelled) < tokens:
        word = "".join(rng.choice(_CONSONANTS) + rng.choice(_VOWELS) for _ in range(rng.randint(1, 4)))
        piece = word if rng.random() < 0.2 else f"▁{word}"
        if piece not in known:
            known.add(piece)
            spelled.append(piece)
    return Vocabulary(
        model="bert",
        pre=None,
        tokens=spelled,
        types=types + [NORMAL] * (tokens - 104),
        merges=[],
        special=special,
    )
