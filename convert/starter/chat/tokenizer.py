"""The byte-level BPE of starter-chat, and conversations as its tokens.

What is copied must be the same tokens where it is read and where it is written: `milk` in `add milk` and in
`"value":"milk"`. So digits are tokens of their own, and a space is one too, but before the commonest words that no
action repeats. llama.cpp splits digits so in the pre-tokenizer `smollm`; the rest is in the merges.
"""

from __future__ import annotations

import itertools
import json
import re
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from tokenizers import Tokenizer, models, pre_tokenizers, trainers
from tokenizers.decoders import ByteLevel as ByteLevelDecoder

from agent.errors import ArtifactError
from convert.starter.chat.dialogue import Message, dialogues
from convert.starter.chat.slots import COPIED_TEXTS

BEGIN, END, SYSTEM, USER, ASSISTANT = "<|begin|>", "<|end|>", "<|system|>", "<|user|>", "<|assistant|>"
SPECIAL: Final = (BEGIN, END, SYSTEM, USER, ASSISTANT)
"""Ids 0 to 4."""

PRE_TOKENIZER: Final = "smollm"
"""What llama.cpp calls single digits and then GPT-2's expression (`llama-vocab.cpp`)."""

VOCABULARY: Final = 1536
SPACED: Final = 320
"""Of these, words with the space before them."""

_SPACE: Final = "\u0120"
"""A space as byte-level BPE writes it."""
_SPACED_WORD: Final = re.compile(r" ([A-Za-z]+)")
_COPIED: Final = frozenset(text.split()[0] for text in COPIED_TEXTS) - {"the", "my", "some", "a", "an"}
"""Words that values begin with: they stay the same tokens behind a quotation mark."""

_DIALOGUES: Final = 30_000
_KEPT_MESSAGES: Final = 11

TEMPLATE: Final = (
    "{%- if tools -%}{{ raise_exception('this model knows no tools: ask with response_format') }}{%- endif -%}"
    "{{- bos_token -}}"
    "{%- for message in messages if message.role in ('system', 'tool') -%}"
    "<|system|>{{ message.content | trim }}<|end|>"
    "{%- endfor -%}"
    "{%- set talk = messages | rejectattr('role', 'in', ('system', 'tool')) | list -%}"
    f"{{%- for message in talk[-{_KEPT_MESSAGES}:] -%}}"
    "{%- if message.role == 'assistant' -%}<|assistant|>{{ message.content | trim }}<|end|>"
    "{%- else -%}<|user|> {{ message.content | trim | lower }}<|end|>{%- endif -%}"
    "{%- endfor -%}"
    "{%- if add_generation_prompt -%}<|assistant|>{%- endif -%}"
)
"""The chat template. User messages are lower case, and begin with a space so that a first word is like any other; of a
long conversation the newest six exchanges are kept, which is what was trained on."""

FORCED_WEIGHT: Final = 0.02
"""Of an opening brace that nothing in the conversation asks for: the model must know what follows it, and not start so
on its own."""


@dataclass(frozen=True)
class Example:
    """`weights[i]` is how much the prediction of `tokens[i]` counts; the first is never predicted."""

    tokens: list[int]
    weights: list[float]


def train(seed: int, *, vocabulary: int = VOCABULARY, conversations: int = _DIALOGUES) -> Tokenizer:
    """A tokenizer of what training will see, the same for the same seed."""
    talks = itertools.islice(dialogues(seed), conversations)
    texts = [_shown(message) for talk in talks for message in talk]
    words = Tokenizer(models.BPE())
    words.pre_tokenizer = pre_tokenizers.Sequence([pre_tokenizers.Split(" ", "isolated"), _splitter()])
    trainer = trainers.BpeTrainer(
        vocab_size=vocabulary - SPACED,
        special_tokens=list(SPECIAL),
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    words.train_from_iterator(texts, trainer)
    known: dict[str, int] = words.get_vocab()
    counted = Counter(found for text in texts for found in _SPACED_WORD.findall(text))
    spaced = [word for word, _ in counted.most_common() if word in known and word not in _COPIED][:SPACED]
    pairs = [(first, second) for first, second in map(str.split, merges(words))]
    vocab = {**known, **{f"{_SPACE}{word}": len(known) + number for number, word in enumerate(spaced)}}
    tokenizer = Tokenizer(models.BPE(vocab=vocab, merges=[*pairs, *((_SPACE, word) for word in spaced)]))
    tokenizer.add_special_tokens(list(SPECIAL))
    tokenizer.pre_tokenizer = _splitter()
    tokenizer.decoder = ByteLevelDecoder()
    return tokenizer


def _splitter() -> pre_tokenizers.PreTokenizer:
    return pre_tokenizers.Sequence(
        [pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(add_prefix_space=False)]
    )


def load(path: Path) -> Tokenizer:
    """Raises `ArtifactError` where `path` holds no tokenizer."""
    try:
        return Tokenizer.from_file(str(path))
    except Exception as error:  # tokenizers raises nothing narrower
        raise ArtifactError(f"{path} is no tokenizer: {error}.") from error


def merges(tokenizer: Tokenizer) -> list[str]:
    """As GGUF has them: two tokens with a space between, in the order in which they were learned."""
    found: Sequence[list[str] | str] = json.loads(tokenizer.to_str())["model"]["merges"]
    return [pair if isinstance(pair, str) else " ".join(pair) for pair in found]


def tokens(tokenizer: Tokenizer) -> list[str]:
    """Every token by its id."""
    names: dict[str, int] = tokenizer.get_vocab()
    return sorted(names, key=lambda name: names[name])


def render(messages: Iterable[Message]) -> str:
    """The conversation as the chat template writes it, to the end of its last message."""
    return BEGIN + "".join(f"<|{message.role}|>{_shown(message)}{END}" for message in messages)


def _shown(message: Message) -> str:
    return f" {message.text.strip().lower()}" if message.role == "user" else message.text.strip()


def encode(tokenizer: Tokenizer, messages: Iterable[Message], *, prompt_weight: float) -> Example:
    """Tokens of a conversation; its answers count fully, what others say `prompt_weight`."""
    known = {name: SPECIAL.index(name) for name in SPECIAL}
    ids, weights = [known[BEGIN]], [0.0]
    for message in messages:
        said: list[int] = tokenizer.encode(_shown(message)).ids
        answer = message.role == "assistant"
        ids += [known[f"<|{message.role}|>"], *said, known[END]]
        weight = 1.0 if answer else prompt_weight
        weights += [0.0, *[weight] * len(said), 1.0 if answer else 0.0]
        if answer and message.forced:
            weights[-len(said) - 1] = FORCED_WEIGHT
    return Example(ids, weights)
