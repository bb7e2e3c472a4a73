"""The loops that tests run on find what they are there to find."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from tests.loops import ASYNCIO, CheckedLoop


@pytest.fixture(scope="module")
def anyio_backend() -> tuple[str, dict[str, Any]]:
    """Run on asyncio only, whose loop this is about."""
    return ASYNCIO


async def test_call_from_a_wrong_thread_is_refused() -> None:
    """The asyncio loop of the tests refuses a call from another thread that is not for other threads."""
    loop = asyncio.get_running_loop()
    assert isinstance(loop, CheckedLoop)
    with ThreadPoolExecutor(1) as pool, pytest.raises(RuntimeError, match="other than the current one"):
        pool.submit(loop.call_soon, print).result()


async def test_callback_that_is_none_is_refused() -> None:
    """It refuses a coroutine function where a callback is wanted, which would never be awaited."""
    no_callback: Callable[[], Any] = test_callback_that_is_none_is_refused
    with pytest.raises(TypeError, match="coroutines cannot be used"):
        asyncio.get_running_loop().call_soon(no_callback)


async def test_origin_of_a_coroutine_is_noted() -> None:
    """A coroutine that nobody awaits is told with the place where it was made."""
    assert sys.get_coroutine_origin_tracking_depth() > 0
