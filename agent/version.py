"""Which edge-agent this is."""

from __future__ import annotations

from functools import cache
from pathlib import Path

PROJECT = Path(__file__).resolve().parents[1] / "pyproject.toml"


@cache
def version() -> str:
    """The version in pyproject.toml: of this checkout, else of the installed distribution."""
    if PROJECT.is_file():
        import tomllib

        project = tomllib.loads(PROJECT.read_text("utf-8")).get("project", {})
        if project.get("name") == "edge-agent":
            return str(project["version"])
    import importlib.metadata

    try:
        return importlib.metadata.version("edge-agent")
    except importlib.metadata.PackageNotFoundError:
        return "unknown"
