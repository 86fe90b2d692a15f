"""llama.cpp's converter on this machine: where its scripts are, what they need, which architectures they know."""

from __future__ import annotations

import ast
import importlib.metadata
import importlib.util
import os
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from agent.errors import ArtifactError, UnavailableError
from agent.hardware.wheel import default_cache_folder
from agent.terminal import Progress
from convert.gguf.sdist import PACKAGE, ensure_unpacked, is_unpacked, require_pip, tools_folder

NEEDED: Final = ("torch", "transformers", "sentencepiece")
"""What the scripts import, and the extra `convert` brings."""


@dataclass(frozen=True)
class Tools:
    """The converter, unpacked in `folder`."""

    folder: Path

    @property
    def checkpoint_script(self) -> Path:
        return self.folder / "convert_hf_to_gguf.py"

    @property
    def lora_script(self) -> Path:
        return self.folder / "convert_lora_to_gguf.py"

    def architectures(self) -> frozenset[str]:
        """Names as `architectures` of a config.json has them. Read from the source: to import it takes torch.

        Raises `ArtifactError` where the table is not where it was in the version this was written for.
        """
        tree = ast.parse((self.folder / "conversion" / "__init__.py").read_text("utf-8"))
        for node in tree.body:
            target = node.target if isinstance(node, ast.AnnAssign) else None
            if isinstance(target, ast.Name) and target.id == "TEXT_MODEL_MAP" and isinstance(node, ast.AnnAssign):
                assert node.value is not None
                return frozenset(ast.literal_eval(node.value))
        raise ArtifactError(
            f"{self.folder} has no table of architectures.", hint="Remove that folder, and run it again."
        )

    def environment(self, inherited: Mapping[str, str] = os.environ) -> dict[str, str]:
        """For its scripts: its own gguf package first, and no network, for everything is here."""
        paths = [str(self.folder / "gguf-py"), *filter(None, [inherited.get("PYTHONPATH")])]
        return {
            **inherited,
            "PYTHONPATH": os.pathsep.join(paths),
            "PYTHONUNBUFFERED": "1",
            "PYTHONIOENCODING": "utf-8",
            "HF_HUB_OFFLINE": "1",
            "TRANSFORMERS_OFFLINE": "1",
            "TRANSFORMERS_VERBOSITY": "error",
            "TOKENIZERS_PARALLELISM": "false",
        }


def installed_version() -> str:
    """Of llama-cpp-python. Raises `UnavailableError` where it is not installed."""
    try:
        return importlib.metadata.version(PACKAGE)
    except importlib.metadata.PackageNotFoundError:
        raise UnavailableError(
            f"{PACKAGE} is not installed for {sys.executable}.", hint="make setup builds and installs it."
        ) from None


def require_packages() -> None:
    """Raises `UnavailableError` naming what is missing of `NEEDED`, and of pip where the converter is not cached yet.

    Called before anything is downloaded.
    """
    missing = [name for name in NEEDED if importlib.util.find_spec(name) is None]
    if missing:
        names = " and ".join([", ".join(missing[:-1]), missing[-1]] if len(missing) > 1 else missing)
        raise UnavailableError(
            f"Converting to GGUF needs {names}, which {'is' if len(missing) == 1 else 'are'} not installed.",
            hint="Install them: pip install 'edge-agent[convert]'",
        )
    if not is_unpacked(tools_folder(default_cache_folder(), installed_version())):
        require_pip()


def find_tools() -> Tools:
    """The converter of the installed llama-cpp-python, fetched through pip where it is not in the cache yet.

    Raises what `convert.gguf.sdist.ensure_unpacked` raises.
    """
    version = installed_version()
    folder = tools_folder(default_cache_folder(), version)
    if not is_unpacked(folder):
        print(f"fetching llama.cpp's converter (the source of {PACKAGE} {version}, once)", file=sys.stderr, flush=True)
        with Progress(f"{PACKAGE} {version}") as progress:
            ensure_unpacked(default_cache_folder(), version, on_bytes=progress)
    return Tools(folder)
