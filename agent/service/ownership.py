"""What root's commands write into the service's state folder is given to the service's user.

`sudo edge-agent models pull` would leave files there that the daemon can read, and cannot replace or remove.
"""

from __future__ import annotations

import contextlib
import os
import stat
from pathlib import Path


def give_to_owner(folder: Path) -> int:
    """Give all that belongs to root in `folder` to the folder's owner; how many entries that were. Nothing for others.

    The owner may be hostile: no link is followed, and what has a second name elsewhere is left as it is.
    """
    if os.geteuid() != 0:
        return 0
    try:
        owner = folder.lstat()
    except OSError:
        return 0
    if owner.st_uid == 0 or not stat.S_ISDIR(owner.st_mode):
        return 0
    given = 0
    for _, folders, files, parent in os.fwalk(folder, follow_symlinks=False):
        for name in (*folders, *files):
            with contextlib.suppress(OSError):
                given += _give(name, parent, owner)
    return given


def _give(name: str, parent: int, owner: os.stat_result) -> bool:
    found = os.stat(name, dir_fd=parent, follow_symlinks=False)
    if found.st_uid != 0:
        return False
    if stat.S_ISLNK(found.st_mode):
        os.chown(name, owner.st_uid, owner.st_gid, dir_fd=parent, follow_symlinks=False)
        return True
    descriptor = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK, dir_fd=parent)
    try:
        opened = os.fstat(descriptor)
        if not stat.S_ISDIR(opened.st_mode) and not (stat.S_ISREG(opened.st_mode) and opened.st_nlink == 1):
            return False
        os.fchown(descriptor, owner.st_uid, owner.st_gid)
    finally:
        os.close(descriptor)
    return True
