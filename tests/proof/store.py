"""What a store of the proof can be asked for: started, disturbed, crashed, begun again, and its own account."""

from __future__ import annotations

import ctypes
import signal
from abc import ABC, abstractmethod
from pathlib import Path
from typing import ClassVar, Final, NamedTuple, Self

NAMESPACE: Final = "proof"
"""Of the ledgers under test."""
SET_PDEATHSIG: Final = 1
_LIBC: Final = ctypes.CDLL(None)


def die_with_parent(with_signal: int = signal.SIGKILL) -> None:
    """Ask the kernel to signal this process when its parent is no more, even where it is stopped then."""
    _LIBC.prctl(SET_PDEATHSIG, with_signal)


class Won(NamedTuple):
    """A claim that was won, by the store's own account."""

    job: str
    slot: int
    fence: int
    claim_id: str


class Store(ABC):
    """One store, begun by `start`; a context manager that ends it."""

    is_skewed: ClassVar[bool] = True
    """Whether the clocks of the workers may differ."""
    faults: ClassVar[tuple[str, ...]]
    """What can be done to a path."""
    can_crash: ClassVar[bool] = True
    paths: ClassVar[int] = 2
    """So many ways lead to it; a fault is on one of them, and the workers on the others go on."""

    settling: ClassVar[int] = 800
    """How long, in ms, a ledger may be without it after a fault has ended: a call that got stuck has its limit."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def __enter__(self) -> Self:
        try:
            self.start()
        except BaseException:
            self.stop()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    @abstractmethod
    def start(self) -> None:
        """Begin."""

    @abstractmethod
    def stop(self) -> None:
        """End, and leave no process."""

    @abstractmethod
    def url(self, path: int) -> str:
        """Return what a ledger is told to reach the store on this path."""

    @abstractmethod
    def disturb(self, path: int, fault: str) -> None:
        """Begin a fault."""

    @abstractmethod
    def heal(self, path: int) -> None:
        """End the fault."""

    @abstractmethod
    def watch(self) -> None:
        """Begin the audit; the ledger has made its tables."""

    @abstractmethod
    def audit(self) -> list[Won]:
        """Return who won what, in the order of the store."""

    def crash(self) -> None:
        """End without any care, and begin to start again; what was acknowledged must survive."""
        raise NotImplementedError

    def has_restarted(self) -> bool:
        """Return whether it is up again."""
        raise NotImplementedError
