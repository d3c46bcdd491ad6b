"""The Ray engine: the in-process engine's bits from other processes, on loopback, and nothing left behind."""

import gc
import os
import warnings
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from tempfile import gettempdir

import pytest
from toy_federation import STUDY, open_toy_site

from fedescc.common.errors import Refusal
from fedescc.server.app import make_server_app
from fedescc.server.results import read_results
from fedescc.simulations.engines.engine import run_engine
from fedescc.simulations.engines.ray_session import crew_for

SITES = ("site-a", "site-b", "site-c", "site-d")
SETTINGS = "{rounds: 3, min_sites: %d, training: {optimizer: sgd, learning_rate: 0.05, class_weight: none}}"
NOT_RESULTS = ("seconds", "timing", "run", "opened_at", "looks")  # looks are digests of the run's id too
LISTENING = "0A"
OURS = ("RAY_AUTH_TOKEN", "RAY_AUTH_MODE", "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER", "FLWR_HOME", "PYTHONPATH")


def run(engine, folder, faults, min_sites=2, on_round=lambda record: None):
    out = folder / engine
    sites = {name: partial(open_toy_site, name, folder / f"{engine}.diary", faults.get(name)) for name in SITES}
    config = {"study": STUDY, "federation": SETTINGS % min_sites, "out": str(out)}
    with warnings.catch_warnings(), ExitStack() as last:
        warnings.simplefilter("ignore", ResourceWarning)  # Ray leaves its handles of /dev/null to the collector
        last.callback(gc.collect)
        run_engine(engine, make_server_app(on_round), sites, config)
    return read_results(out)


def comparable(document):
    if isinstance(document, dict):
        return {key: comparable(value) for key, value in document.items() if key not in NOT_RESULTS}
    return [comparable(item) for item in document] if isinstance(document, list) else document


def ray_processes():
    """Ray's processes that are children, at any remove, of this one or of none."""
    found = set()
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            command = (folder / "cmdline").read_bytes()
        except OSError:
            continue
        if b"fedescc-ray-" in command or command.startswith(b"ray::"):
            found.add(int(folder.name))
    return found


def listening_addresses(processes):
    """Local addresses, in /proc's hexadecimal, on which these processes wait for TCP connections."""
    sockets = set()
    for process in processes:
        for descriptor in Path(f"/proc/{process}/fd").glob("*"):
            try:
                sockets.add(str(descriptor.readlink()))
            except OSError:
                continue
    rows = [line.split() for name in ("tcp", "tcp6") for line in Path(f"/proc/net/{name}").read_text().splitlines()[1:]]
    return {row[1].split(":")[0] for row in rows if row[3] == LISTENING and f"socket:[{row[9]}]" in sockets}


def leftovers(before):
    folders = list(Path(gettempdir()).glob("fedescc-ray-*"))
    return ray_processes(), folders, environment() == before


def environment():
    return {name: os.environ.get(name) for name in OURS}


@pytest.fixture(scope="module")
def both(tmp_path_factory):
    folder, seen = tmp_path_factory.mktemp("engines"), []
    before = environment()
    faults = {"site-c": "empty-site"}
    local = run("local", folder, faults)
    ray = run("ray", folder, faults, on_round=lambda record: seen.append(listening_addresses(ray_processes())))
    return {"folder": folder, "local": local, "ray": ray, "seen": seen, "left": leftovers(before)}


@pytest.mark.slow
def test_ray_gives_the_bits_of_the_in_process_engine(both):
    assert comparable(both["ray"]) == comparable(both["local"])
    assert both["ray"]["refused_before_training"] == {"unnamed-102": "empty-site"}
    models = [(both["folder"] / engine / "model.safetensors").read_bytes() for engine in ("local", "ray")]
    assert models[0] == models[1]


@pytest.mark.slow
def test_a_site_is_opened_once_and_stays_in_its_process(both):
    lines = [line.split() for line in (both["folder"] / "ray.diary").read_text().splitlines()]
    opened = [name for name, _ in lines if name != "site-c"]
    assert sorted(opened) == ["site-a", "site-b", "site-d"]
    assert len({process for name, process in lines if name == "site-c"}) == 1
    assert str(os.getpid()) not in {process for _, process in lines}


@pytest.mark.slow
def test_nobody_outside_this_machine_can_reach_ray(both):
    assert len(both["seen"]) == 3
    loopback = {"0100007F", "0000000000000000FFFF00000100007F", "00000000000000000000000001000000"}
    for addresses in both["seen"]:
        assert addresses
        assert addresses <= loopback


@pytest.mark.slow
def test_ray_leaves_no_process_folder_or_setting(both):
    assert both["left"] == (set(), [], True)


@pytest.mark.slow
def test_a_process_that_dies_takes_its_sites_out_and_the_refusal_reaches_the_caller(tmp_path):
    before = environment()
    with pytest.raises(Refusal, match="no-quorum") as refusal:
        run("ray", tmp_path, {"site-b": "dies"}, min_sites=4)
    assert "unnamed-101: site-error" in refusal.value.what
    assert leftovers(before) == (set(), [], True)


@pytest.mark.parametrize(("cores", "sites", "workers", "threads"), [(8, 3, 3, 2), (2, 5, 2, 1), (4, 1, 1, 4)])
def test_cores_are_shared_out_between_processes(cores, sites, workers, threads, monkeypatch):
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    monkeypatch.setattr(os, "sched_getaffinity", lambda process: set(range(cores)))
    crew = crew_for(sites)
    assert (crew.workers, crew.threads) == (workers, threads)


def test_the_threads_asked_for_win(monkeypatch):
    import torch

    monkeypatch.setenv("OMP_NUM_THREADS", "3")
    monkeypatch.setattr(torch, "get_num_threads", lambda: 3)
    assert crew_for(2).threads == 3
