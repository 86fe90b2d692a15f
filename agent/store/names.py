"""Names, versions and file paths that are safe to use as parts of a path on any file system."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence

from agent.errors import ArtifactError

NAME_LIMIT = 128
PATH_LIMIT_BYTES = 1024
COMPONENT_LIMIT_BYTES = 255
DEPTH_LIMIT = 16
MANIFEST_NAME = "manifest.json"
RESERVED_VERSIONS = frozenset({"current", "previous"})

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}")
_UNSAFE = re.compile(r"[^A-Za-z0-9._-]+")


def is_safe_name(text: str) -> bool:
    """Whether `text` can name a model: 1 to 128 of letters, digits, `.`, `_`, `-`, the first one no sign, no `..`."""
    return _NAME.fullmatch(text) is not None and ".." not in text


def is_safe_version(text: str) -> bool:
    """Whether `text` can name a version: a safe name that is none of the store's own links."""
    return is_safe_name(text) and text.lower() not in RESERVED_VERSIONS


def check_name(text: str) -> None:
    """Raises `ArtifactError` (param `name`) unless `is_safe_name`."""
    if not is_safe_name(text):
        raise ArtifactError(
            f"name: {_shown(text)} cannot name a model.",
            hint=f"Use 1 to {NAME_LIMIT} letters, digits, '.', '_' or '-', starting with a letter or digit, no '..'.",
            param="name",
        )


def check_version(text: str) -> None:
    """Raises `ArtifactError` (param `version`) unless `is_safe_version`."""
    if not is_safe_version(text):
        raise ArtifactError(
            f"version: {_shown(text)} cannot name a version.",
            hint=f"Use 1 to {NAME_LIMIT} letters, digits, '.', '_' or '-', starting with a letter or digit, no '..'; "
            "'current' and 'previous' are taken.",
            param="version",
        )


def path_fault(path: str) -> str | None:
    """Why `path` cannot be a file inside an artifact, or None when it can.

    A path is relative, uses `/`, has no empty, `.` or `..` component, no backslash and no control character, and is
    not the manifest itself.
    """
    if not path:
        return "is empty"
    if any(ord(character) < 32 or ord(character) == 127 for character in path):
        return "contains a control character"
    if "\\" in path:
        return "contains a backslash; use '/'"
    if path.startswith("/"):
        return "is absolute"
    try:
        encoded = path.encode()
    except UnicodeEncodeError:
        return "is not valid Unicode"
    if len(encoded) > PATH_LIMIT_BYTES:
        return f"is longer than {PATH_LIMIT_BYTES} bytes"
    components = path.split("/")
    if len(components) > DEPTH_LIMIT:
        return f"is deeper than {DEPTH_LIMIT} folders"
    for component in components:
        if component in ("", ".", ".."):
            return f"has the component '{component}'"
        if len(component.encode()) > COMPONENT_LIMIT_BYTES:
            return f"has a component longer than {COMPONENT_LIMIT_BYTES} bytes"
    if folded(path) == MANIFEST_NAME:
        return "is the manifest itself"
    return None


def collision(paths: Sequence[str]) -> tuple[int, str] | None:
    """The index of the first path that cannot live beside the ones before it, and why; None when all can.

    Two paths collide when they are equal on a file system that ignores case and Unicode form, or when one of them is
    a folder of the other.
    """
    files: set[str] = set()
    folders: set[str] = set()
    for index, path in enumerate(paths):
        key = folded(path)
        components = key.split("/")
        parents = {"/".join(components[:depth]) for depth in range(1, len(components))}
        if key in files:
            return index, "is listed twice (case does not count)"
        if key in folders or parents & files:
            return index, "is both a file and a folder"
        files.add(key)
        folders |= parents
    return None


def folded(text: str) -> str:
    """`text` as a file system that ignores case and Unicode form sees it."""
    return unicodedata.normalize("NFC", unicodedata.normalize("NFC", text).casefold())


def suggest_name(text: str) -> str:
    """A safe name made from any text, such as a file's stem; "model" when nothing of it is usable."""
    name = _UNSAFE.sub("-", text)
    while ".." in name:
        name = name.replace("..", ".")
    return name.strip("-._")[:NAME_LIMIT].rstrip("-._") or "model"


def _shown(text: str) -> str:
    return ascii(text if len(text) <= 80 else text[:80] + "...")
