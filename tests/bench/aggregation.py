"""GB of float32 updates a second and core, and peak memory, of what the server makes of many sites' updates.

Peers, in the same process and turn by turn: the plain numpy fold (double, scale, rint, cast, add: what the exact sum
is defined as) with the same checks, and a float64 running mean, which is not exact and depends on the order of
answers. Memory: a process of its own for every number of sites, each with the server's weights, one update at a time
made on the fly, and the strategy's step; a table shows that it does not grow with the sites.

Run: python tests/bench/aggregation.py [tmp folder for the robust strategies' file]
"""

import json
import os
import resource
import subprocess
import sys
import time
from collections.abc import Callable
from statistics import median

SIZE = 50_000_000  # 200 MB of float32
REPEATS = 5
SITES = (5, 50)
ROBUST_SIZE = 12_500_000  # 50 MB, so that 50 updates fit a small disk
CASES = (
    ("fedavg", SIZE),
    ("fedadam", SIZE),
    ("trimmed_mean", ROBUST_SIZE),
    ("median", ROBUST_SIZE),
    ("krum", ROBUST_SIZE),
)
ONE_CORE = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")


def main(folder: str) -> None:
    """Print both tables."""
    print(f"one update of {SIZE * 4 / 1e6:.0f} MB folded, one core, {REPEATS} turns")  # noqa: T201
    speeds = _child("speed")
    plain = median(speeds["plain numpy int64 fold"])
    for name, values in speeds.items():
        middle = median(values)
        print(f"  {name:28} {middle:6.2f} GB/s ({min(values):.2f} - {max(values):.2f}) {middle / plain:6.1f} x")  # noqa: T201
    print("  goal >= 2 GB/s for fedescc\n\npeak memory of a whole round in process, and its time")  # noqa: T201
    print(f"  {'':14}{'model':>8} {'sites':>6} {'peak MB':>8} {'gather s':>9} {'combine, step s':>16}")  # noqa: T201
    for strategy, size in CASES:
        for sites in SITES:
            one = _child("memory", strategy, str(size), str(sites), folder)
            print(  # noqa: T201
                f"  {strategy:14}{size * 4 / 1e6:5.0f} MB {sites:6} {one['megabytes']:8.0f} {one['gather']:9.1f}"
                f" {one['end']:16.1f}"
            )
    print("  goal <= 1000 MB for fedavg with 50 sites of 200 MB")  # noqa: T201


def _child(*arguments: str) -> dict:  # type: ignore[type-arg]
    command = [sys.executable, __file__, *arguments]
    answer = subprocess.run(command, check=True, stdout=subprocess.PIPE, env=os.environ | ONE_CORE).stdout
    return dict(json.loads(answer))


def speed() -> dict[str, list[float]]:
    """GB/s of each way by processor time, so that other work on the machine matters less."""
    import numpy as np

    from fedescc.common.statistics.fixedpoint import encode_fixed
    from fedescc.server.training.aggregate import Fold

    update = np.random.default_rng(0).standard_normal(SIZE, dtype=np.float32) * np.float32(1e-2)
    fold, total, mean = Fold(SIZE, 1000), np.zeros(SIZE, np.int64), np.zeros(SIZE)

    def plain() -> None:
        np.add(total, encode_fixed(update, 57, 1000), out=total)

    def running() -> None:
        np.add(mean, update.astype(np.float64) * 57, out=mean)

    ways: dict[str, Callable[[], None]] = {
        "fedescc": lambda: fold.add("site", update, 57),
        "plain numpy int64 fold": plain,
        "float64 mean, not exact": running,
    }
    seconds: dict[str, list[float]] = {name: [] for name in ways}
    for turn in range(REPEATS + 1):
        for name, way in ways.items():
            start = time.process_time()
            way()
            if turn:  # the first touches the memory
                seconds[name].append(time.process_time() - start)
    same = np.array_equal(fold.combine(), total / (57 * (REPEATS + 1) * 2.0**32))
    assert same
    return {name: [update.nbytes / one / 1e9 for one in values] for name, values in seconds.items()}


def memory(strategy: str, size: int, sites: int, folder: str) -> dict[str, float]:
    """Peak megabytes of this process, and seconds, of one round of updates that a site's number makes."""
    from pathlib import Path

    import numpy as np
    from pydantic import TypeAdapter

    from fedescc.common.strategy import Strategy
    from fedescc.server.strategies.algorithm import algorithm_of
    from fedescc.server.strategies.state import Gathered

    algorithm = algorithm_of(TypeAdapter(Strategy).validate_python({"name": strategy}))
    state = algorithm.init(np.zeros(size, np.float32))
    update = np.empty(size, np.float32)
    taken = 0.0
    with algorithm.gather(size, sites, Path(folder)) as gather:
        for site in range(sites):
            np.random.default_rng(site).standard_normal(dtype=np.float32, out=update)
            start = time.perf_counter()
            gather.add(f"site-{site:02}", update, 20 + site)
            taken += time.perf_counter() - start
        del update
        start = time.perf_counter()
        state = algorithm.step(state, Gathered(gather.combine()))
    assert np.isfinite(state.weights[::1000]).all()
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    return {"megabytes": peak, "gather": taken, "end": time.perf_counter() - start}


if __name__ == "__main__":
    if sys.argv[1:2] == ["speed"]:
        print(json.dumps(speed()))  # noqa: T201
    elif sys.argv[1:2] == ["memory"]:
        print(json.dumps(memory(sys.argv[2], int(sys.argv[3]), int(sys.argv[4]), sys.argv[5])))  # noqa: T201
    else:
        import tempfile

        main(sys.argv[1] if len(sys.argv) > 1 else tempfile.gettempdir())
