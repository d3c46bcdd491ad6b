"""Run a function on many inputs in processes; one that kills its process costs its own input only."""

import os
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import BrokenExecutor, Future, as_completed
from contextlib import suppress
from typing import TypeVar

from fedescc.client.workers import worker_pool

Input = TypeVar("Input")
Output = TypeVar("Output")

# A process costs a second or two to start and load its libraries.
_LEAST_INPUTS = 8
_MOST_WORKERS = 8


def run_all(
    function: Callable[[Input], Output],
    inputs: Mapping[str, Input],
    died: Callable[[], Output],
    *,
    apart: bool = False,
    workers: int | None = None,
) -> Iterator[tuple[str, Output]]:
    """Pairs of key and result in the order in which they are done.

    Few inputs are done in this process. Where a worker process dies, the inputs that it may have been at are tried
    again, each in a process of its own, so that only the culprit fails; then the others go on together.

    Args:
        function: picklable; handles its own exceptions.
        inputs: key -> picklable input.
        died: the result of an input that kills its process.
        apart: use other processes however few inputs there are, because one may kill its own.
        workers: processes; None takes one a core.

    """
    count = min(workers or os.cpu_count() or 1, _MOST_WORKERS, len(inputs))
    if not apart and (count < 2 or len(inputs) < _LEAST_INPUTS):
        for key, one in inputs.items():
            yield key, function(one)
        return
    left = dict(inputs)
    while left:
        with suppress(BrokenExecutor):
            for key, result in _in_pool(function, left, count):
                del left[key]
                yield key, result
        # Inputs are taken in order: what a dead process was at is among the first.
        for key in list(left)[:count]:
            yield key, _alone(function, left.pop(key), died)


def _alone(function: Callable[[Input], Output], one: Input, died: Callable[[], Output]) -> Output:
    try:
        ((_, result),) = _in_pool(function, {"": one}, 1)
    except BrokenExecutor:
        return died()
    return result


def _in_pool(
    function: Callable[[Input], Output], inputs: Mapping[str, Input], workers: int
) -> Iterator[tuple[str, Output]]:
    with worker_pool(workers) as pool:
        keys: dict[Future[Output], str] = {pool.submit(function, one): key for key, one in inputs.items()}
        try:
            for future in as_completed(keys):
                yield keys[future], future.result()
        finally:
            pool.shutdown(wait=True, cancel_futures=True)
