"""On which kind of file system a path is, by the text of Linux's ``/proc/self/mountinfo``."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path, PurePosixPath
from typing import Final

NETWORK: Final = frozenset({
    *("nfs", "nfs4", "cifs", "smb3", "smbfs", "ncpfs", "afs", "coda", "ceph", "glusterfs", "lustre", "beegfs"),
    *("fuse.sshfs", "fuse.glusterfs", "fuse.ceph", "fuse.s3fs", "fuse.rclone", "fuse.gcsfuse", "fuse.goofys"),
    *("fuse.curlftpfs", "fuse.smbnetfs", "fuse.juicefs"),
})  # fmt: skip
"""File systems that several hosts share, and whose locks and shared memory SQLite's log cannot rely on."""

MOUNTINFO: Final = Path("/proc/self/mountinfo")

_ESCAPED: Final = re.compile(r"\\([0-7]{3})")


def network_of(path: str) -> str | None:
    """Return the name of the network file system that *path* is on; None if it is on none, or nobody can tell."""
    kind = None
    with suppress(OSError):
        text = MOUNTINFO.read_text("utf-8", "surrogateescape")
        kind = kind_of(path, text)
    return kind if kind in NETWORK else None


def kind_of(path: str, mountinfo: str) -> str | None:
    """
    Return the kind of file system that the absolute *path*, free of symbolic links, is on.

    Args:
        path: It need not exist.
        mountinfo: The mounts as proc(5) has them: of those at or above the path the deepest counts, and of two at one
            place the later, which hides the earlier.

    Returns:
        Such as ``ext4``; None where no mount is above the path.
    """
    deepest, kind = -1, None
    for point, name in _mounts(mountinfo):
        if PurePosixPath(path).is_relative_to(point) and len(point.parts) >= deepest:
            deepest, kind = len(point.parts), name
    return kind


def _mounts(mountinfo: str) -> Iterator[tuple[PurePosixPath, str]]:
    for line in mountinfo.splitlines():
        before, _, after = line.partition(" - ")
        fields, kinds = before.split(" "), after.split(" ")
        if len(fields) >= 5 and kinds[0]:
            yield PurePosixPath(_ESCAPED.sub(lambda found: chr(int(found[1], 8)), fields[4])), kinds[0]
