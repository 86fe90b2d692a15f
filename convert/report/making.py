"""From a finished comparison to a folder with report.md, report.json and report.png, whole or not at all."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from agent.store.durable import Filesystem
from convert.artifact import new_artifact
from convert.report.page import PICTURE, markdown
from convert.report.picture import can_draw, draw
from convert.report.report import Report, as_json

PAGE: Final = "report.md"
DATA: Final = "report.json"
NO_PICTURE: Final = "There is no picture: matplotlib is not installed (pip install matplotlib)."


@dataclass(frozen=True)
class Workplace:
    """`scratch` is for models under way, and gone in the end; `finish` puts the report in its place."""

    scratch: Path
    _page: Path
    _target: Path

    def finish(self, report: Report) -> bool:
        """Write the report and rename its folder into place. Returns whether there is a picture."""
        disk = Filesystem()
        picture = can_draw()
        if picture:
            draw(report, self._page / PICTURE)
            disk.sync_file(self._page / PICTURE)
        disk.write_new(self._page / PAGE, markdown(report, picture=picture).encode())
        data = json.dumps(as_json(report), indent=2, ensure_ascii=False, allow_nan=False) + "\n"
        disk.write_new(self._page / DATA, data.encode())
        disk.sync_folder(self._page)
        disk.rename(self._page, self._target)
        return picture


@contextmanager
def workplace(target: Path, needed_bytes: int) -> Iterator[Workplace]:
    """A place to make the report `target` in, all of which is removed at the end but for what was finished.

    Raises `ArtifactError` where `target` exists, `DiskFullError` where less than `needed_bytes` are free.
    """
    with new_artifact(target, needed_bytes) as staged:
        scratch, page = staged.folder / "scratch", staged.folder / "page"
        scratch.mkdir()
        page.mkdir()
        yield Workplace(scratch, page, staged.target)
