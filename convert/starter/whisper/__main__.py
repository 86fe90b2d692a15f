"""Make starter-whisper: `python -m convert.starter.whisper --out DIR`.

Needs the `convert` extra, espeak-ng, flite and Festival.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Final

from agent.errors import RequestError
from agent.terminal import Progress
from convert.artifact import refuse_existing
from convert.starter.command import Lines, exit_status, training_packages

if TYPE_CHECKING:
    from convert.starter.whisper.training import Losses

UTTERANCES: Final = 30_000


def main(arguments: Sequence[str] | None = None) -> int:
    """Returns the exit status: 0 done, 1 failed, 2 wrong usage, 130 interrupted."""
    parser = argparse.ArgumentParser(prog="python -m convert.starter.whisper", description=__doc__)
    parser.add_argument("--out", type=Path, required=True, metavar="DIR", help="the artifact folder to make")
    parser.add_argument("--work", type=Path, metavar="DIR", help="what is kept to go on with (default: OUT.work)")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--minutes", type=float, help="of computing, after the speaking; default: the recipe's")
    parser.add_argument("--utterances", type=int, default=UTTERANCES, help=f"to speak (default: {UTTERANCES:,})")
    parser.add_argument("--threads", type=int, default=0, help="default: one per core")
    parser.add_argument(
        "--keep-out", type=Path, metavar="FILE", help="transcripts.json of recordings whose sentences are never said"
    )
    parser.add_argument("--accept-quality", action="store_true", help="keep the result even where it misses a gate")
    given = parser.parse_args(arguments)
    return exit_status(partial(_run, given))


def _run(given: argparse.Namespace) -> int:
    _check(given)
    with training_packages():
        import torch
        from transformers.utils import logging

        from convert.starter.whisper import checkpoint
        from convert.starter.whisper.model import Recognizer, Shape
        from convert.starter.whisper.training import Recipe, Training
    from convert.starter.whisper.bank import Bank, fill_bank, language_id
    from convert.starter.whisper.evaluation import silent_clips, write_recordings
    from convert.starter.whisper.packing import Training as Made
    from convert.starter.whisper.packing import pack
    from convert.starter.whisper.synthesis import check_programs
    from convert.starter.whisper.tokens import train_tokenizer

    check_programs()
    work: Path = given.work or given.out.with_name(f"{given.out.name}.work")
    with Progress("speaking", unit="sentences") as progress:
        kept_out = _kept_out(given.keep_out)
        spoken = work / f"speech-{given.seed}-{given.utterances}-{language_id(kept_out)}"
        fill_bank(spoken, given.utterances, given.seed, kept_out, progress)
    bank = Bank(spoken)
    write_recordings(work / f"recordings-{given.seed}", given.seed)
    if given.threads:
        torch.set_num_threads(given.threads)
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    torch.manual_seed(given.seed)
    tokenizer = train_tokenizer(bank.texts)
    recipe = Recipe(seed=given.seed, **({} if given.minutes is None else {"minutes": given.minutes}))
    training = Training(Recognizer.new(tokenizer, Shape(), len(bank.phone_names)), tokenizer, bank, recipe, work)
    lines = Lines(_means)
    training.run(lambda _step, share, losses, used_s: lines.add(share, losses, used_s))
    checkpoint.save(training.averaged.whisper, tokenizer, work / "checkpoint")
    print("measuring", file=sys.stderr, flush=True)
    made = Made(given.seed, recipe.minutes, training.used_s, len(bank), bank.hours)
    manifest = pack(
        work / "checkpoint",
        given.out,
        work / f"recordings-{given.seed}",
        made,
        silent=silent_clips(given.seed),
        threads=given.threads,
        accept=given.accept_quality,
    )
    for key, value in manifest.quality.items():
        if isinstance(value, int | float) and not isinstance(value, bool):
            print(f"{key:24} {value}")
    print(f"{given.out}: {manifest.total_bytes / 1e6:.2f} MB")
    return 0


def _check(given: argparse.Namespace) -> None:
    refuse_existing(given.out)
    if given.utterances < 1 or given.threads < 0 or (given.minutes is not None and given.minutes <= 0):
        raise RequestError("--utterances and --minutes must be above 0, --threads not below.")


def _kept_out(transcripts: Path | None) -> frozenset[str]:
    from convert.starter.chat.split import normal

    if transcripts is None:
        return frozenset()
    try:
        said = json.loads(transcripts.read_text("utf-8"))
    except (OSError, ValueError) as error:
        raise RequestError(f"{transcripts} cannot be read: {error}.") from None
    return frozenset(normal(text) for text in said.values())


def _means(losses: list[Losses]) -> str:
    means = [sum(values) / len(values) for values in zip(*losses, strict=True)]
    return "  ".join(f"{name} {mean:.3f}" for name, mean in zip(losses[0]._fields, means, strict=True))


if __name__ == "__main__":
    sys.exit(main())
