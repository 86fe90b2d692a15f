"""Libraries that the child would load and never use."""

from __future__ import annotations

import sys
from types import ModuleType
from typing import Final

_URLLIB3: Final = "tuf.ngclient.urllib3_fetcher"


def leave_out_urllib3() -> None:
    """Before python-tuf is imported: its own way to fetch, which ours stands in for (`repository._Carrier`), loads
    urllib3, and that takes 2 MB. For a process of its own only: what others would import from there is not there."""
    stands_in = ModuleType(_URLLIB3)
    stands_in.Urllib3Fetcher = type("Urllib3Fetcher", (), {})  # type: ignore[attr-defined]
    sys.modules.setdefault(_URLLIB3, stands_in)
