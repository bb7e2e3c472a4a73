"""WorkerWatch: seeing that this process is one of several workers, each cause by itself."""

from __future__ import annotations

import logging
import multiprocessing
import os
import socket
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

from loopcron import LedgerNotShared, MemoryLedger, Scheduler, SqliteLedger, SystemClock
from loopcron._address import listening_descriptors
from loopcron._workers import WorkerWatch, asked_for, shares_listener, started_with_others
from loopcron.testing import FakeClock, RecordingObserver
from tests.conftest import NOT_APPLICABLE

needs_proc = pytest.mark.skipif(
    not Path("/proc/self/fd").is_dir(), reason=f"{NOT_APPLICABLE} this platform does not show a process's sockets"
)
ROOT = Path(__file__).resolve().parents[2]
JUDGE = """
import sys
from loopcron._address import listening_descriptors
from loopcron._workers import shares_listener
print("up", flush=True)
sys.stdin.readline()
print(shares_listener(listening_descriptors()), flush=True)
sys.stdin.readline()
"""


@pytest.fixture
def listener() -> Iterator[socket.socket]:
    """Give a socket that listens, the only one of this process."""
    with socket.create_server(("127.0.0.1", 0)) as made:
        yield made


@pytest.fixture
def processes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Let what the platform shows of processes be what the test writes into a folder, at first only this one."""
    monkeypatch.setattr("loopcron._workers._PROCESSES", str(tmp_path))
    show(tmp_path, "self")
    beside(tmp_path, os.getpid())
    return tmp_path


def show(processes: Path, pid: int | str, command: str = "serve\0app\0", holds: tuple[str, ...] = ()) -> None:
    """Show a process that was started by *command*, with what its descriptors stand for."""
    folder = processes / str(pid)
    (folder / "fd").mkdir(parents=True)
    (folder / "cmdline").write_text(command)
    for number, target in enumerate(holds):
        (folder / "fd" / str(number)).symlink_to(target)


def beside(processes: Path, *pids: int) -> None:
    """Show as whose parent ours is."""
    thread = processes / str(os.getppid()) / "task" / "1"
    thread.mkdir(parents=True, exist_ok=True)
    (thread / "children").write_text("".join(f"{pid} " for pid in pids))


def name_of(listener: socket.socket) -> str:
    """Return what a descriptor of this socket stands for."""
    return f"socket:[{os.fstat(listener.fileno()).st_ino}]"


# --- the environment


@pytest.mark.parametrize(
    "text", ["2", "04", " 16 ", "9" * 5000], ids=["two", "with a zero", "with blanks", "beyond what int() takes"]
)
def test_environment_asks_for_several(text: str) -> None:
    """A number above one in ``WEB_CONCURRENCY`` means several workers, and is shown, but never at full length."""
    reason = asked_for({"WEB_CONCURRENCY": text})
    assert reason is not None
    assert reason.startswith(f"WEB_CONCURRENCY is {text.strip()[:20]}")
    assert len(reason) < 50


@pytest.mark.parametrize("text", ["", "0", "1", "001", "-2", "2.5", "auto", "²", "٣"])
def test_environment_asks_for_one_or_for_nothing(text: str) -> None:
    """One, none, and what is no number mean nothing; nor does a variable that is not there."""
    assert asked_for({"WEB_CONCURRENCY": text}) is None
    assert asked_for({}) is None


# --- multiprocessing


def test_nobody_has_imported_multiprocessing(monkeypatch: pytest.MonkeyPatch) -> None:
    """A process in which multiprocessing was never imported was not started by it, and it is not imported for that."""
    monkeypatch.delitem(sys.modules, "multiprocessing.process", raising=False)
    assert started_with_others() is None
    assert "multiprocessing.process" not in sys.modules


def test_own_process_is_no_child_of_multiprocessing() -> None:
    """A process that only uses multiprocessing is no worker."""
    assert multiprocessing.parent_process() is None
    assert started_with_others() is None


@needs_proc
@pytest.mark.parametrize("method", ["spawn", "fork"])
def test_others_that_multiprocessing_has_started(method: str, tmp_path: Path) -> None:
    """Of two workers each sees the other, however they are started; a single one, as of a reloader, sees nobody."""
    script = f"""
import multiprocessing
from loopcron._workers import started_with_others

def work(start, done):
    start.wait()
    print(f"{{started_with_others()}}\\n", end="", flush=True)
    done.wait()

if __name__ == "__main__":
    context = multiprocessing.get_context({method!r})
    for count in (1, 2):
        barriers = context.Barrier(count), context.Barrier(count)
        workers = [context.Process(target=work, args=barriers) for _ in range(count)]
        for worker in workers:
            worker.start()
        for worker in workers:
            worker.join()
"""
    file = tmp_path / "workers.py"
    file.write_text(script)
    ran = subprocess.run(
        [sys.executable, file],
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        text=True,
        capture_output=True,
        check=True,
        timeout=50,
    )
    assert ran.stdout.splitlines() == ["None", *["multiprocessing has started 1 more like it"] * 2]


def test_platform_that_does_not_show_the_others(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Where nobody can tell whether there are others, the reason says that there may be none."""
    monkeypatch.setattr("loopcron._workers._PROCESSES", str(tmp_path / "nothing"))
    monkeypatch.setattr(multiprocessing.process, "_parent_process", object())
    reason = started_with_others()
    assert reason is not None
    assert "if it is the only one" in reason


# --- the socket


@needs_proc
def test_real_workers_share_a_socket(listener: socket.socket) -> None:
    """Two processes with one command and one socket see each other; the parent that opened it does not count."""
    number = listener.fileno()
    listener.set_inheritable(True)

    def start() -> subprocess.Popen[str]:
        worker = subprocess.Popen(
            [sys.executable, "-c", JUDGE],
            cwd=ROOT,
            pass_fds=[number],
            text=True,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
        assert worker.stdout is not None
        assert worker.stdout.readline() == "up\n"
        return worker

    def ask(worker: subprocess.Popen[str]) -> str:
        assert worker.stdin is not None
        assert worker.stdout is not None
        print(file=worker.stdin, flush=True)
        return worker.stdout.readline().strip()

    first, second, alone = start(), start(), None
    try:
        shared = "1 more like it share the socket on which it listens"
        assert [ask(first), ask(second)] == [shared, shared]
        for worker in (first, second):
            worker.communicate("\n")
        alone = start()
        assert ask(alone) == "None"
    finally:
        for worker in filter(None, (first, second, alone)):
            worker.kill()
            worker.communicate()


@needs_proc
def test_others_that_hold_something_else(processes: Path, listener: socket.socket) -> None:
    """No worker is who holds another socket, was started by another command, hides what it holds, or has ended."""
    name = name_of(listener)
    show(processes, 1001, holds=("socket:[1]", "/dev/null"))
    show(processes, 1002, command="sidecar\0", holds=(name,))
    show(processes, 1003)
    (processes / "1003" / "fd").rmdir()
    beside(processes, os.getpid(), 1001, 1002, 1003, 1004)
    assert shares_listener([listener.fileno()]) is None
    show(processes, 1005, holds=("/dev/null", name))
    beside(processes, os.getpid(), 1001, 1005)
    assert shares_listener([listener.fileno()]) == "1 more like it share the socket on which it listens"


@needs_proc
def test_children_of_all_the_parents_threads_count(processes: Path, listener: socket.socket) -> None:
    """A parent may start workers from any of its threads."""
    show(processes, 1001, holds=(name_of(listener),))
    thread = processes / str(os.getppid()) / "task" / "2"
    thread.mkdir()
    (thread / "children").write_text("1001 ")
    assert shares_listener([listener.fileno()]) is not None


def test_no_socket_no_look() -> None:
    """A process that does not listen shares nothing, and neither does one whose parent shows nothing."""
    assert shares_listener([]) is None


@needs_proc
def test_parent_that_shows_nothing(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, listener: socket.socket) -> None:
    """Where the platform does not show who else was started, nothing is said."""
    monkeypatch.setattr("loopcron._workers._PROCESSES", str(tmp_path / "nothing"))
    assert shares_listener([listener.fileno()]) is None


# --- when


@pytest.fixture
def looks(monkeypatch: pytest.MonkeyPatch) -> list[None]:
    """Give a list that grows with every look."""
    made: list[None] = []

    def counted() -> Mapping[int, object] | None:
        made.append(None)
        return listening_descriptors()

    monkeypatch.setattr("loopcron._workers.listening_descriptors", counted)
    return made


@pytest.mark.usefixtures("processes", "listener")
def test_it_looks_a_few_times(looks: list[None]) -> None:
    """It looks ever more rarely, and then no more."""
    watch = WorkerWatch({})
    seen = []
    for now in range(100):
        before = len(looks)
        assert watch(now) is None
        seen += [now] * (len(looks) - before)
    assert seen == [0, 2, 6, 14, 30]


@needs_proc
def test_it_tells_once(processes: Path, looks: list[None]) -> None:
    """What begins to hold after the start, such as a socket that listens only then, is told once."""
    watch = WorkerWatch({})
    assert watch(0.0) is None
    with socket.create_server(("127.0.0.1", 0)) as listener:
        show(processes, 1001, holds=(name_of(listener),))
        beside(processes, os.getpid(), 1001)
        assert watch(1.0) is None
        assert watch(2.0) == "1 more like it share the socket on which it listens"
        assert [watch(1e3), watch(1e9)] == [None, None]
    assert len(looks) == 2


async def test_scheduler_tells_it_once(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    """A scheduler whose ledger is its own says so once in each of its lives, with the remedy."""
    monkeypatch.setenv("WEB_CONCURRENCY", "4")
    seen = RecordingObserver()
    scheduler = Scheduler(observers=[seen])
    with caplog.at_level(logging.WARNING, "loopcron"):
        for _ in range(2):
            async with scheduler:
                await scheduler.wait_idle()
                await scheduler.wait_idle()
    assert [event for event in seen.events if isinstance(event, LedgerNotShared)] == [
        LedgerNotShared("WEB_CONCURRENCY is 4")
    ] * 2
    assert 'WEB_CONCURRENCY is 4; let them share one, such as Scheduler(ledger="sqlite:///' in caplog.messages[0]


async def test_scheduler_has_nothing_to_tell(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Nothing is said with a ledger that is shared, on a clock of the tests' own, or of a life without a loop."""
    monkeypatch.setenv("WEB_CONCURRENCY", "4")
    seen = RecordingObserver()
    shared = Scheduler(ledger=SqliteLedger(tmp_path / "ledger.db"), observers=[seen])
    faked = Scheduler(clock=FakeClock(), observers=[seen])
    for scheduler in (shared, faked):
        async with scheduler:
            await scheduler.wait_idle()
    by_hand = Scheduler(clock=SystemClock(), ledger=MemoryLedger(), observers=[seen])
    async with by_hand.manual():
        await by_hand.tick()
    assert not [event for event in seen.events if isinstance(event, LedgerNotShared)]
