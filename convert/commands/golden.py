"""An artifact with a golden set: questions and answers that a device asks a new version before it trusts it."""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from agent.errors import ArtifactError
from agent.store.names import check_version
from agent.terminal import print_json, size
from convert.artifact import refuse_existing

if TYPE_CHECKING:
    from agent.store.manifest import Manifest
    from convert.golden.cases import Golden

NAME: Final = "golden"
HELP: Final = "give an artifact a golden set, which devices test an update with"


def configure(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("artifact", type=Path, metavar="ARTIFACT", help="an artifact folder, with manifest.json")
    parser.add_argument("--out", type=Path, required=True, metavar="DIR", help="the new artifact folder")
    parser.add_argument("--version", help="which version the new one is; by default the same")
    parser.add_argument(
        "--cases", type=Path, metavar="FILE", help="your own cases, one JSON object a line (docs/golden-sets.md)"
    )
    parser.add_argument("--text", type=Path, metavar="FILE", help="text for the perplexity; default: a built-in one")
    parser.add_argument(
        "--recordings", type=Path, metavar="DIR", help="audio files and transcripts.json, for a model that transcribes"
    )
    parser.add_argument(
        "--threads", type=int, default=os.cpu_count() or 1, metavar="N", help="one per core unless given"
    )
    parser.add_argument("--json", action="store_true", help="print JSON, for scripts")


def run(given: argparse.Namespace) -> int:
    from agent.store.manifest import read_manifest
    from convert.golden.cases import make_golden, read_cases
    from convert.worker import Worker, options_of

    source: Path = given.artifact
    if given.version is not None:
        check_version(given.version)
    refuse_existing(given.out)
    try:
        manifest = read_manifest(source / "manifest.json")
    except OSError as error:
        raise ArtifactError(f"{source / 'manifest.json'} cannot be read: {error.strerror}.") from None
    own = [] if given.cases is None else read_cases(given.cases)
    path = source if manifest.format == "onnx" else source / manifest.main_file
    print(f"{manifest.name} {manifest.version}: asking it", file=sys.stderr, flush=True)
    with Worker(path, options_of(manifest, given.threads)) as worker:
        golden = make_golden(worker, manifest, own=own, text=given.text, recordings=given.recordings)
    made = _write(given, manifest, golden)
    _report(given, made, golden)
    return 0


def _write(given: argparse.Namespace, manifest: Manifest, golden: Golden) -> Manifest:
    """Everything of the artifact but an earlier golden set, and the new one."""
    from msgspec.structs import asdict

    from convert.artifact import new_artifact
    from convert.golden.cases import FILE, FOLDER

    given.out.parent.mkdir(parents=True, exist_ok=True)
    with new_artifact(given.out, manifest.total_bytes) as staged:
        for file in manifest.files:
            if file.path == FILE or file.path.startswith(f"{FOLDER}/"):
                continue
            if not (given.artifact / file.path).is_file():
                raise ArtifactError(f"{given.artifact} has no {file.path}, which its manifest lists.")
            staged.copy(given.artifact / file.path, file.path)
        (staged.folder / FILE).write_bytes(golden.lines())
        for name, data in golden.files.items():
            (staged.folder / name).parent.mkdir(exist_ok=True)
            (staged.folder / name).write_bytes(data)
        fields: dict[str, Any] = asdict(manifest)
        fields |= {"gates": {**manifest.gates, **golden.gates}, "version": given.version or manifest.version}
        del fields["files"]
        return staged.finish(**fields)


def _report(given: argparse.Namespace, made: Manifest, golden: Golden) -> None:
    if given.json:
        value = {"path": str(given.out), "name": made.name, "version": made.version, "cases": len(golden.cases)}
        print_json(value | {"gates": made.gates})
        return
    gates = ", ".join(f"{key} {value}" for key, value in golden.gates.items() if key != "golden")
    print(f"{given.out}: {made.name} {made.version}, {size(made.total_bytes)}, {len(golden.cases)} cases; {gates}")
