"""The command `edge-convert`."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from agent.errors import ArtifactError, EdgeAgentError, RequestError


def main(arguments: Sequence[str] | None = None) -> int:
    """Run it. Returns the exit status: 0 done, 1 failed, 2 wrong usage."""
    parser = argparse.ArgumentParser(prog="edge-convert", description="Make the artifacts that edge-agent runs.")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    command = commands.add_parser("quantize", help="a GGUF model at fewer bits")
    command.add_argument("source", type=Path, metavar="IN.gguf")
    command.add_argument("target", type=Path, metavar="OUT.gguf")
    command.add_argument("--quant", default="Q4_K_M", metavar="NAME", help="Q4_K_M (the default), Q8_0, ...")
    command.add_argument("--threads", type=int, default=0, metavar="N", help="one per core unless given")
    given = parser.parse_args(arguments)
    try:
        return _quantize(given.source, given.target, given.quant.upper(), given.threads)
    except EdgeAgentError as error:
        print(f"edge-convert: {error}", file=sys.stderr)
        return 2 if isinstance(error, RequestError) else 1


def _quantize(source: Path, target: Path, kind: str, threads: int) -> int:
    from convert.quantize import quantize  # llama.cpp takes 0.1 s to load, which --help need not wait for

    if not target.parent.is_dir():
        raise ArtifactError(f"{target.parent} is not a folder.")
    before = source.stat().st_size if source.is_file() else 0
    after = quantize(source, target, kind, threads=threads)
    print(f"{target}: {kind}, {after / 1e6:.1f} MB ({after / before:.0%} of {source.name})")
    return 0


if __name__ == "__main__":
    sys.exit(main())
