"""Train starter-chat from nothing and pack it: `python -m convert.starter.chat --out DIR`."""

from __future__ import annotations

import argparse
import signal
import sys
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Final

from agent.errors import RequestError
from agent.terminal import Progress, print_json, size, use_utf8
from convert.artifact import refuse_existing
from convert.quality.gates import add_accept_option
from convert.starter.command import exit_status, training_packages

_SHOWN_MISTAKES: Final = 12
_SAID_EVERY_STEPS: Final = 100


def main(arguments: Sequence[str] | None = None) -> int:
    """Returns the exit status: 0 done, 1 failed, 2 wrong usage, 130 interrupted."""
    use_utf8()
    given = _arguments(arguments)
    signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(128 + number))
    return exit_status(partial(_run, given))


def _arguments(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m convert.starter.chat", description=__doc__)
    parser.add_argument("--out", type=Path, required=True, metavar="DIR", help="the artifact folder to make")
    parser.add_argument("--seed", type=int, default=1, help="of the data and the first weights (default: 1)")
    amount = parser.add_mutually_exclusive_group()
    amount.add_argument("--steps", type=int, help="how long to train; the recipe's number unless given")
    amount.add_argument("--minutes", type=float, help="train for about this long instead")
    parser.add_argument("--threads", type=int, default=2, help="of the training (default: 2)")
    parser.add_argument(
        "--checkpoint", type=Path, metavar="FILE", help="to go on from and keep up to date (default: DIR.checkpoint)"
    )
    parser.add_argument("--json", action="store_true", help="print the figures as JSON")
    add_accept_option(parser)
    return parser.parse_args(arguments)


def _run(given: argparse.Namespace) -> int:
    refuse_existing(given.out)
    if (
        (given.steps is not None and given.steps < 1)
        or (given.minutes is not None and given.minutes <= 0)
        or given.threads < 1
    ):
        raise RequestError("--steps, --minutes and --threads must be above 0.")
    with training_packages():
        from convert.starter.chat import pack as packing
        from convert.starter.chat import tokenizer as bpe
        from convert.starter.chat.model import Llama, Shape
        from convert.starter.chat.training import Recipe, train
    recipe = replace(Recipe(), seed=given.seed, threads=given.threads)
    if given.steps:
        recipe = replace(recipe, steps=given.steps)
    elif given.minutes:
        recipe = replace(recipe, steps=None, minutes=given.minutes)
    checkpoint: Path = given.checkpoint or given.out.with_name(f"{given.out.name}.checkpoint")

    _say("training the tokenizer")
    tokenizer = bpe.train(recipe.seed)
    shape = Shape(tokenizer.get_vocab_size())
    _say(f"training {Llama(shape).parameter_count / 1e6:.2f} million parameters; checkpoint in {checkpoint}")
    with Progress("training", unit="steps") as progress:

        def on_step(done: int, total: int, loss: float) -> None:
            progress(done, max(total, done + 1))
            if done % _SAID_EVERY_STEPS == 0:
                _say(f"step {done} of {total}: loss {loss:.4f}")

        trained = train(recipe, shape, tokenizer, checkpoint, on_step)
    manifest, scored = packing.pack(trained, tokenizer, given.out, recipe, accept=given.accept_quality, say=_say)
    if given.json:
        print_json(manifest.quality)
        return 0
    for name, one in scored.items():
        print(f"{name}: {one.right} of {one.count}")
        for said, expected, answer in one.wrong[:_SHOWN_MISTAKES]:
            print(f"    {said!r}: expected {expected}, got {answer}")
    print(f"{given.out}: {size(manifest.total_bytes)}")
    return 0


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
