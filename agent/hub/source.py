"""What a person writes to name a model on the hub: `hf:Qwen/Qwen2.5-0.5B-Instruct-GGUF:Q4_K_M`. Pure."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Final
from urllib.parse import unquote, urlsplit

from agent.errors import RequestError

_ID: Final = r"[A-Za-z0-9][\w.-]*(?:/[A-Za-z0-9][\w.-]*)?"
_REVISION: Final = r"[\w][\w./+-]*"
_CHOICE: Final = r"[\w][\w./ +-]*"
_SOURCE: Final = re.compile(
    rf"(?P<repository>{_ID})(?:@(?P<before>{_REVISION}))?(?::(?P<choice>{_CHOICE}?))?(?:@(?P<after>{_REVISION}))?",
    re.ASCII,
)
_WITH_OWNER: Final = re.compile(rf"{_ID}(?:@{_REVISION})?(?::{_CHOICE})?", re.ASCII)
_HOSTS: Final = frozenset({"huggingface.co", "www.huggingface.co", "hf.co"})
_PAGE: Final = re.compile(
    r"/(?P<repository>[^/]+/[^/]+)(?:/(?:tree|resolve|blob|raw)/(?P<revision>[^/]+)(?:/(?P<file>.+))?)?/?", re.ASCII
)
_EXAMPLE: Final = "hf:Qwen/Qwen2.5-0.5B-Instruct-GGUF:Q4_K_M"


@dataclass(frozen=True, kw_only=True)
class Source:
    """A repository; `revision` is a branch, a tag or a commit, None for the default branch; `choice` is what to take
    of it, a quantization such as `Q4_K_M` or the name of a file."""

    repository: str
    revision: str | None = None
    choice: str | None = None

    @property
    def name(self) -> str:
        """The repository's name without its owner."""
        return self.repository.rpartition("/")[2]

    def __str__(self) -> str:
        revision = f"@{self.revision}" if self.revision else ""
        return f"hf:{self.repository}{revision}{f':{self.choice}' if self.choice else ''}"


def parse_source(text: str) -> Source:
    """`hf:OWNER/NAME`, then `@REVISION` and `:QUANTIZATION` or `:FILE` in either order; or the address of a page or a
    file at huggingface.co. Raises `RequestError` with what to write instead.
    """
    if text.startswith("hf:"):
        return _parsed(text, text.removeprefix("hf:").removeprefix("//"))
    if text.startswith(("https://", "http://")):
        return _of_address(text)
    if text and Path(text).expanduser().exists():
        raise RequestError(f"{text} is on this machine already.", hint=f"edge-agent models import {text}")
    if "/" in text and _WITH_OWNER.fullmatch(text):
        raise RequestError(f"{text} does not say where it is.", hint=f"On the hub: edge-agent models pull hf:{text}")
    raise RequestError(f"{ascii(text)[1:-1][:200]} names no model on the hub.", hint=f"A source looks like {_EXAMPLE}.")


def _parsed(text: str, rest: str) -> Source:
    match = _SOURCE.fullmatch(rest)
    if match is None or (match["before"] and match["after"]) or ".." in rest or "--" in match["repository"]:
        raise RequestError(
            f"{ascii(text)[1:-1][:200]} is not a source: expected hf:OWNER/NAME, then @REVISION or :QUANTIZATION.",
            hint=f"For example {_EXAMPLE}.",
        )
    return Source(
        repository=match["repository"],
        revision=match["before"] or match["after"],
        choice=(match["choice"] or "").strip() or None,
    )


def _of_address(text: str) -> Source:
    address = urlsplit(text)
    page = _PAGE.fullmatch(unquote(address.path)) if address.hostname in _HOSTS else None
    if page is None:
        raise RequestError(
            f"{ascii(text)[1:-1][:200]} is not the address of a model at huggingface.co.",
            hint="Download the file with another program (curl -C - -O ADDRESS), then: edge-agent models import FILE.",
        )
    revision = page["revision"] if page["revision"] != "main" else None
    pieces = [page["repository"], f"@{revision}" if revision else "", f":{page['file']}" if page["file"] else ""]
    return _parsed(text, "".join(pieces))
