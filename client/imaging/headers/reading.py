"""Read many headers, in processes where that pays."""

import os
from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import BrokenExecutor, Future
from multiprocessing import current_process

from fedescc.client.imaging.headers.batch import read_batch
from fedescc.client.imaging.headers.walk import Signature
from fedescc.client.workers import worker_pool

Files = Sequence[tuple[str, Signature | None]]

# A process costs about 0.1 s to start, a file a tenth of a millisecond to read from memory.
_LEAST_FILES = 2000
_MOST_WORKERS = 8
_BATCH = 250  # files
_BATCHES_AHEAD = 4  # a process: bounds what waits to be taken


def read_files(root: str, files: Files, workers: int | None = None) -> Iterator[bytes]:
    """Batches of files in their order, as ``read_batch`` encodes them, whatever the number of processes.

    Args:
        root: the folder.
        files: names relative to it, with signatures.
        workers: processes; None takes one a core if there are enough files.

    """
    batches = [files[first : first + _BATCH] for first in range(0, len(files), _BATCH)]
    if workers is None:
        workers = min(os.cpu_count() or 1, _MOST_WORKERS) if len(files) >= _LEAST_FILES else 1
    done = 0
    # A process of a pool may have none of its own.
    if workers > 1 and not current_process().daemon:
        try:
            for content in _in_pool(root, batches, workers):
                yield content
                done += 1
        except (BrokenExecutor, OSError):
            pass  # no processes to be had, or the system ended one: it costs time, not files
    for batch in batches[done:]:
        yield read_batch(root, batch)


def _in_pool(root: str, batches: Sequence[Files], workers: int) -> Iterator[bytes]:
    pool = worker_pool(workers)
    pending: deque[Future[bytes]] = deque()
    try:
        for batch in batches:
            pending.append(pool.submit(read_batch, root, batch))
            if len(pending) > workers * _BATCHES_AHEAD:
                yield pending.popleft().result()
        while pending:
            yield pending.popleft().result()
    finally:
        pool.shutdown(wait=True, cancel_futures=True)
