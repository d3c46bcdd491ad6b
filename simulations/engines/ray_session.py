"""Ray on this machine, for as long as a simulation needs it: on loopback, behind a secret, and gone afterwards.

Whoever reaches Ray's ports runs code. On Linux, Ray listens on the machine's outward address even when told not to;
the switch that keeps it on loopback elsewhere is set here too. A token keeps other users of the machine out.
"""

import logging
import os
import secrets
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from subprocess import Popen
from typing import Any

import ray
from ray._private import ray_constants, worker
from ray._raylet import AuthenticationTokenLoader, Config  # type: ignore[attr-defined] # a compiled module

_OBJECT_STORE_BYTES = 256 * 2**20  # shared memory for messages under way; what does not fit goes to disk
_SECONDS_TO_END = 30
_QUIET = {
    "FLWR_TELEMETRY_ENABLED": "0",
    "FLWR_DISABLE_UPDATE_CHECK": "1",
    "FLWR_DISABLE_RUNTIME_DEPENDENCY_INSTALLATION": "1",
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0",
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",  # as it will be; without it Ray warns
    "RAY_AUTH_MODE": "token",
}


@dataclass(frozen=True)
class Crew:
    """Processes, the threads that each computes with, and the graphics cards of all together."""

    workers: int
    threads: int
    gpus: int


def crew_for(sites: int) -> Crew:
    """As many processes as cores, or as sites if fewer.

    Each computes with its share of the cores, or with torch's number of threads where ``OMP_NUM_THREADS`` sets it.
    """
    import torch

    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    workers = max(1, min(sites, cores))
    threads = torch.get_num_threads() if "OMP_NUM_THREADS" in os.environ else max(1, cores // workers)
    return Crew(workers, threads, torch.cuda.device_count())


@contextmanager
def ray_session(crew: Crew) -> Iterator[None]:
    """Ray with room for a crew; its files lie in a folder that goes with it, its processes have ended on return."""
    # A short path, because Ray puts Unix sockets there, whose names hold 107 characters.
    with tempfile.TemporaryDirectory(prefix="fedescc-ray-") as folder, _environment(folder):
        try:
            ray.init(
                address="local",
                num_cpus=crew.workers,
                num_gpus=crew.gpus,
                include_dashboard=False,
                object_store_memory=_OBJECT_STORE_BYTES,
                log_to_driver=False,
                logging_level=logging.ERROR,
                _temp_dir=folder,
            )
            yield
        finally:
            _end()


@contextmanager
def _environment(folder: str) -> Iterator[None]:
    """What Ray's processes inherit, and this one keeps only as long: quiet, the secret, where modules lie."""
    own = _QUIET | {
        "FLWR_HOME": folder,
        "PYTHONPATH": os.pathsep.join(sys.path),
        "RAY_AUTH_TOKEN": secrets.token_hex(32),
    }
    before, clusters = dict(os.environ), ray_constants.ENABLE_RAY_CLUSTER
    os.environ.update(own)
    _read_again(clusters=False)
    try:
        yield
    finally:
        for name in set(os.environ) - set(before):
            del os.environ[name]
        os.environ.update(before)
        _read_again(clusters)


def _read_again(clusters: bool) -> None:
    """Ray reads its environment when it is imported, which may be long ago: mirp imports it too."""
    ray_constants.ENABLE_RAY_CLUSTER = clusters
    Config.initialize("")
    AuthenticationTokenLoader.instance().reset_cache()


def _end() -> None:
    """Shut Ray down and wait for what it started: it kills its processes but leaves them as zombies."""
    node = worker._global_node
    started: list[list[Any]] = list(node.all_processes.values()) if node else []
    processes: list[Popen[bytes]] = [info.process for infos in started for info in infos]
    ray.shutdown()
    for process in processes:
        process.wait(_SECONDS_TO_END)
