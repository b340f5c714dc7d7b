"""Reading ahead in a thread."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from itertools import islice

import pytest

from include.engines.prefetch import prefetch

PATIENCE = 5.0


def wait_until(claim: Callable[[], bool]) -> None:
    deadline = time.monotonic() + PATIENCE
    while not claim():
        assert time.monotonic() < deadline
        time.sleep(0.005)


def prefetch_threads() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name == "prefetch"]


@pytest.fixture(autouse=True)
def _no_thread_is_left() -> Iterator[None]:
    assert prefetch_threads() == []
    yield
    assert prefetch_threads() == []


class Numbers:
    """Counts up to ``end``, and remembers how far it was read and that it was closed."""

    def __init__(self, end: int = 10**9, fail_at: int | None = None) -> None:
        self.end, self.fail_at = end, fail_at
        self.read = 0
        self.closed = threading.Event()

    def __call__(self) -> Iterator[int]:
        try:
            for number in range(self.end):
                if number == self.fail_at:
                    raise LookupError(f"at {number}")
                self.read += 1
                yield number
        finally:
            self.closed.set()


@pytest.mark.parametrize("depth", [1, 2, 5])
@pytest.mark.parametrize("end", [0, 1, 2, 100])
def test_items_come_in_order_and_all_of_them(end: int, depth: int) -> None:
    numbers = Numbers(end)
    assert list(prefetch(numbers(), depth)) == list(range(end))
    assert numbers.closed.is_set()


def test_falsy_items_are_items() -> None:
    assert list(prefetch(iter([0, "", [], False]))) == [0, "", [], False]


def test_an_iterator_need_not_be_a_generator() -> None:
    assert list(prefetch(iter((3, 1, 2)))) == [3, 1, 2]


@pytest.mark.parametrize("fail_at", [0, 3])
def test_what_the_reading_raises_comes_after_the_items_before_it(fail_at: int) -> None:
    items = prefetch(Numbers(10, fail_at)())
    assert list(islice(items, fail_at)) == list(range(fail_at))
    with pytest.raises(LookupError, match=f"at {fail_at}"):
        next(items)


def test_even_an_exit_of_the_reader_reaches_the_consumer() -> None:
    def leave() -> Iterator[int]:
        yield 1
        raise SystemExit(3)

    with pytest.raises(SystemExit):
        list(prefetch(leave()))


@pytest.mark.parametrize("depth", [1, 2, 4])
def test_the_reader_is_a_few_items_ahead_and_no_more(depth: int) -> None:
    numbers = Numbers()
    with closing(prefetch(numbers(), depth)) as items:
        for taken in range(1, 4):
            next(items)
            wait_until(lambda taken=taken: numbers.read >= taken + depth)
            time.sleep(0.02)
            assert numbers.read <= taken + depth + 1


def test_nothing_is_read_before_somebody_asks() -> None:
    numbers = Numbers()
    items = prefetch(numbers())
    time.sleep(0.02)
    assert numbers.read == 0
    items.close()


def test_reading_goes_on_while_the_consumer_works() -> None:
    numbers = Numbers()
    with closing(prefetch(numbers())) as items:
        next(items)
        wait_until(lambda: numbers.read > 1)


def test_a_consumer_that_stops_early_closes_the_generator_and_ends_the_thread() -> None:
    numbers = Numbers()
    generator = numbers()
    items = prefetch(generator)
    assert next(items) == 0
    items.close()
    assert numbers.closed.is_set()
    assert prefetch_threads() == []


def test_a_consumer_that_fails_closes_the_generator_and_ends_the_thread() -> None:
    numbers = Numbers()
    generator = numbers()

    def consume() -> None:
        with closing(prefetch(generator)) as items:
            assert [1 // item for item in items]

    with pytest.raises(ZeroDivisionError):
        consume()
    assert numbers.closed.is_set()
