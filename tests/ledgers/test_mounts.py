"""Where a path is: what ``/proc/self/mountinfo`` says of it, and which file systems are on a network."""

from __future__ import annotations

from pathlib import Path

import pytest

from loopcron.ledgers import _mounts
from loopcron.ledgers._mounts import kind_of, network_of

MOUNTS = r"""
22 1 254:0 / / rw,relatime shared:1 - ext4 /dev/vda1 rw
30 22 0:26 / /proc rw - proc proc rw
41 22 0:40 / /srv rw,relatime shared:7 master:3 - nfs4 server:/srv rw,vers=4.2
42 41 8:1 / /srv/local rw,relatime - xfs /dev/sda1 rw
43 22 0:41 / /mnt/with\040space\134and\011tab rw - fuse.sshfs host:/ rw
44 22 0:42 / /again rw - ext4 /dev/sdb1 rw
45 22 0:43 / /again rw shared:9 - cifs //server/share rw
46 22 0:44 / /broken
"""


@pytest.mark.parametrize(
    ("path", "kind"),
    [
        ("/loopcron.db", "ext4"),
        ("/srv/app/loopcron.db", "nfs4"),
        ("/srv", "nfs4"),
        ("/srvice/loopcron.db", "ext4"),
        ("/srv/local/loopcron.db", "xfs"),
        ("/srv/localhost/loopcron.db", "nfs4"),
        ("/mnt/with space\\and\ttab/loopcron.db", "fuse.sshfs"),
        ("/again/loopcron.db", "cifs"),
        ("/broken/loopcron.db", "ext4"),
    ],
)
def test_deepest_mount_above_a_path_counts(path: str, kind: str) -> None:
    """The mount that is nearest above the path says what it is on, the later of two at one place, name by name."""
    assert kind_of(path, MOUNTS) == kind


def test_path_under_no_mount_has_no_kind() -> None:
    """Where no mount is above the path nothing is said about it."""
    assert kind_of("/a", "") is None


@pytest.mark.parametrize(("kind", "network"), [("nfs", "nfs"), ("cifs", "cifs"), ("ext4", None), ("overlay", None)])
def test_network_of_names_network_file_systems(
    kind: str, network: str | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Only a file system on a network has a name here."""
    text = f"22 1 254:0 / / rw - {kind} somewhere rw\n"
    monkeypatch.setattr(_mounts, "MOUNTINFO", tmp_path / "mountinfo")
    (tmp_path / "mountinfo").write_text(text)
    assert network_of("/srv/loopcron.db") == network


def test_system_that_does_not_tell_its_mounts_is_not_judged(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without mountinfo, as on macOS, every path passes."""
    monkeypatch.setattr(_mounts, "MOUNTINFO", tmp_path / "missing")
    assert network_of("/srv/loopcron.db") is None
