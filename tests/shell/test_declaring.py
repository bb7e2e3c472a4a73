"""How a scheduler and its jobs are declared, and what is refused with which words."""

from __future__ import annotations

import threading
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest

from loopcron import (
    ConfigError,
    DuplicateJobError,
    FunctionJob,
    Policy,
    Run,
    Scheduler,
    Succeeded,
    UnknownJobError,
    every,
)

if TYPE_CHECKING:
    from tests.shell.conftest import Stage

MINUTELY = every(minutes=1)


async def work(run: Run) -> None:
    """Do nothing."""


class Plain:
    """A job of the user's own; *without* leaves attributes out."""

    def __init__(self, *without: str, **other: Any) -> None:
        fields = {"name": "plain", "schedule": MINUTELY, "policy": Policy(), "run": work, **other}
        for field, value in fields.items():
            if field not in without:
                setattr(self, field, value)


# --- the constructor


class Older:
    """A ledger that was made for something else: it has the calls, but does not say whether it is shared."""

    async def call(self, items: Any) -> Any: ...

    register = claim = renew = finish = pause = peek = reset = close = call


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"ledger": object()}, "ledger=.*has no method register"),
        ({"ledger": Older()}, "ledger=.*does not say with is_shared whether"),
        ({"ledger": "mysql://root:secret@x/y"}, "ledger='mysql:...': must be a URL that begins with sqlite:///"),
        ({"ledger": "postgresql://root:secret@x/y"}, "namespace=None: is wanted with postgresql://"),
        ({"namespace": "web"}, "namespace='web': needs a ledger that is shared"),
        ({"on_ledger_error": "ignore"}, "on_ledger_error='ignore': must be 'skip' or 'fire'"),
        ({"transport": object()}, "transport=.*has no method send"),
        ({"transport": "http://127.0.0.1"}, "has no method send"),
        ({"clock": object()}, "clock=.*has no method now"),
        ({"clock": datetime}, "clock=.*has no method monotonic"),
        ({"observers": Plain()}, "observers=.*must be a list or tuple"),
        ({"observers": [print]}, "observers=.*has no method on_event"),
        ({"drain": 10}, "drain=10: must be a timedelta"),
        ({"drain": timedelta(seconds=-1)}, "drain=.*must be between 0:00:00 and ten years"),
        ({"drain": timedelta(days=36525)}, "drain=.*ten years"),
        ({"drain": timedelta(microseconds=1)}, "drain=.*must be whole milliseconds"),
        ({"startup_delay": 5.0}, "startup_delay=5.0: must be a timedelta"),
        ({"startup_delay": timedelta(seconds=-5)}, "startup_delay=.*must be between"),
        ({"enabled": "false"}, "enabled='false': must be True or False"),
        ({"enabled": None}, "enabled=None"),
    ],
)
def test_constructor_refuses_what_cannot_work(options: dict[str, Any], said: str) -> None:
    """A bad argument is refused when the scheduler is made, with its name, its value and what would do."""
    with pytest.raises(ConfigError, match=said):
        Scheduler(**options)


def test_constructor_takes_keywords_only() -> None:
    """No argument has a place of its own, so that more can be added in any order."""
    with pytest.raises(TypeError):
        Scheduler(None)  # type: ignore[call-arg]


def test_constructor_needs_no_event_loop() -> None:
    """A scheduler and its jobs can be made at import time, where no loop runs."""
    scheduler = Scheduler()
    scheduler.add(FunctionJob("work", MINUTELY, work))
    assert not scheduler.health().running


# --- add


@pytest.mark.parametrize(
    ("job", "said"),
    [
        (object(), "name=None"),
        (Plain("name"), "name=None: must be 1 to 64"),
        (Plain(name=""), "name=''"),
        (Plain(name=7), "name=7"),
        (Plain(name="a b"), "name='a b'"),
        (Plain(name="-a"), "name='-a'"),
        (Plain(name="a" * 65), "name="),
        (Plain(name="a\n"), "name="),
        (Plain(name="ä"), "name="),
        (Plain("schedule"), "schedule=None: must be every"),
        (Plain(schedule=timedelta(minutes=1)), "schedule=.*is a duration"),
        (Plain(schedule="* * * * *"), "schedule="),
        (Plain("policy"), "policy=None: must be a Policy"),
        (Plain(policy={"timeout": None}), "policy=.*must be a Policy"),
        (Plain("run"), "job=.*has no method run|run=.*"),
        (Plain(run=5), "has no method run"),
        (None, "name=None"),
        (work, "name=None"),
    ],
)
@pytest.mark.parametrize("alive", [False, True], ids=["stopped", "running"])
async def test_add_refuses_what_is_no_job(stage: Stage, job: Any, said: str, alive: bool) -> None:
    """A bad job is refused with the field named, and nothing of it is added, before the start or after."""
    if alive:
        async with stage.scheduler:
            with pytest.raises(ConfigError, match=said):
                stage.scheduler.add(job)
    else:
        with pytest.raises(ConfigError, match=said):
            stage.scheduler.add(job)
    assert stage.scheduler.jobs == ()
    assert stage.scheduler.snapshot().jobs == ()


async def test_users_own_job_runs(stage: Stage) -> None:
    """Any object with the four attributes is a job."""
    job = Plain()
    stage.scheduler.add(job)  # type: ignore[arg-type]
    async with stage.scheduler:
        await stage.advance(minutes=1)
    assert stage.outcomes("plain") == [Succeeded()]
    assert stage.scheduler.jobs[0] is job  # type: ignore[comparison-overlap]


@pytest.mark.parametrize("alive", [False, True], ids=["stopped", "running"])
async def test_name_is_taken_once(stage: Stage, alive: bool) -> None:
    """A second job of one name is refused, and the first one goes on."""
    stage.add(work)
    other = FunctionJob("work", every(seconds=1), work)
    if not alive:
        with pytest.raises(DuplicateJobError, match="name='work': is taken"):
            stage.scheduler.add(other)
    async with stage.scheduler:
        if alive:
            with pytest.raises(DuplicateJobError, match="name='work': is taken"):
                stage.scheduler.add(other)
        await stage.advance(minutes=1)
    assert stage.outcomes() == [Succeeded()]


async def test_name_is_free_again_after_removal(stage: Stage) -> None:
    """A removed job's name can be given anew, and its history is gone."""
    stage.add(work)
    async with stage.scheduler:
        await stage.advance(minutes=2)
        stage.scheduler.remove("work")
        stage.add(work)
        assert stage.scheduler.snapshot()["work"].history == ()
        await stage.advance(minutes=1)
        assert len(stage.scheduler.snapshot()["work"].history) == 1


@pytest.mark.parametrize("verb", ["remove", "pause", "resume", "trigger"])
def test_unknown_name_is_refused_with_the_known_ones(verb: str) -> None:
    """A verb on a name that nobody added raises, and lists those that somebody did."""
    scheduler = Scheduler()
    with pytest.raises(UnknownJobError, match="name='wrok': no such job; known jobs: none"):
        getattr(scheduler, verb)("wrok")
    scheduler.add(FunctionJob("work", MINUTELY, work))
    scheduler.add(FunctionJob("more", MINUTELY, work))
    with pytest.raises(UnknownJobError, match="known jobs: work, more"):
        getattr(scheduler, verb)("wrok")


def test_removed_while_stopped_is_gone() -> None:
    """Jobs may be removed, paused and resumed before there is a life."""
    scheduler = Scheduler()
    scheduler.add(FunctionJob("work", MINUTELY, work))
    scheduler.pause("work")
    scheduler.resume("work")
    scheduler.remove("work")
    assert scheduler.jobs == ()


# --- the decorator


def test_decorator_gives_the_function_back() -> None:
    """The function comes back unchanged, and its name is the job's."""
    scheduler = Scheduler()
    assert scheduler.job(MINUTELY)(work) is work
    assert [job.name for job in scheduler.jobs] == ["work"]


def test_decorator_takes_a_name_and_a_policy() -> None:
    """Name and policy fields are keywords of the decorator."""
    scheduler = Scheduler()
    scheduler.job(MINUTELY, name="other", overlap="allow", timeout=None)(work)
    (job,) = scheduler.jobs
    assert (job.name, job.policy.overlap, job.policy.timeout, job.schedule) == ("other", "allow", None, MINUTELY)


@pytest.mark.parametrize(
    ("options", "function", "said"),
    [
        ({"name": "no good"}, work, "name='no good'"),
        ({"timeout": 5}, work, "timeout=5"),
        ({"tiemout": None}, work, "tiemout=None: is no field"),
        ({}, lambda run: None, "name='<lambda>'"),
        ({"name": "nothing"}, lambda: None, "must take one positional argument"),
        ({"name": "nothing"}, 5, "must be a function"),
        ({}, 5, "name=''"),
    ],
)
def test_decorator_refuses_as_add_does(options: dict[str, Any], function: Any, said: str) -> None:
    """What cannot work is refused when the function is decorated, and nothing is added."""
    scheduler = Scheduler()
    with pytest.raises(ConfigError, match=said):
        scheduler.job(MINUTELY, **options)(function)
    assert scheduler.jobs == ()


async def test_sync_function_runs_in_a_thread(stage: Stage) -> None:
    """A plain function runs on a daemon thread of its own, named after the job, and gets the run."""
    seen: list[tuple[bool, str, bool, str]] = []

    def blocking(run: Run) -> None:
        thread = threading.current_thread()
        seen.append((thread is threading.main_thread(), thread.name, thread.daemon, run.job))

    stage.add(blocking)
    async with stage.scheduler:
        await stage.advance(minutes=1)
    assert seen == [(False, "loopcron blocking", True, "blocking")]
    assert stage.outcomes() == [Succeeded()]
