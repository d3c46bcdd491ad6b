"""Ray engine: the same ServerApp and ClientApp under Flower's simulation runtime, sites spread over processes.

Flower's own pool hands a message to whichever actor is idle, but a site remembers things between messages: that its
test set was opened and for which model, the logits it computed, SCAFFOLD's control. So every site is pinned to one
actor here, which opens it once and keeps it. An actor that dies takes its sites out of the run: opened again
elsewhere, they would have forgotten that their test sets were looked at.

Beside `local_grid`, the only place in simulations that uses Flower internals (flwr 1.41); the parts of Flower that
report usage are not called.
"""

import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial

import ray
from flwr.app import Context, Message, RecordDict
from flwr.clientapp import ClientApp
from flwr.common.constant import SUPERLINK_NODE_ID
from flwr.compat.client.run_info_store import DeprecatedRunInfoStore, RunInfo
from flwr.proto.node_pb2 import NodeInfo
from flwr.proto.task_pb2 import Task
from flwr.server.superlink.fleet.vce.backend.backend import Backend
from flwr.server.superlink.fleet.vce.metrics import VceMetrics
from flwr.server.superlink.fleet.vce.vce_api import run_api
from flwr.server.superlink.linkstate import InMemoryLinkState, LinkStateFactory
from flwr.server.superlink.linkstate.in_memory_linkstate import RunRecord
from flwr.serverapp import Grid, ServerApp
from flwr.simulation.ray_transport.ray_actor import ClientAppActor
from flwr.supercore.constant import FLWR_IN_MEMORY_DB_NAME, NOOP_FEDERATION_ID, NodeStatus
from flwr.supercore.object_store import ObjectStoreFactory
from flwr.supercore.run import Run
from flwr.supercore.task_identity import TaskIdentity
from flwr.superlink.federation import NoOpFederationManager
from flwr.superlink.grid import InMemoryGrid

from fedescc.simulations.engines.engine import SiteSource, serving
from fedescc.simulations.engines.local_grid import FIRST_SITE_NODE, RunConfig
from fedescc.simulations.engines.ray_session import Crew, crew_for, ray_session

_RUN, _TASK = 1, 1


def run_over_ray(
    server_app: ServerApp | Callable[[Grid, Context], None], sites: Mapping[str, SiteSource], run_config: RunConfig
) -> None:
    """Run a ServerApp in this process over sites in Ray's; its exceptions reach the caller.

    See `crew_for` for processes and threads; graphics cards are shared out evenly.
    """
    crew = crew_for(len(sites))
    with ray_session(crew):
        backend = PinnedBackend(crew, sites)
        state = _link_state(len(sites))
        grid = InMemoryGrid(state)
        grid.set_run(_run_of(state))
        TaskIdentity.task_id, TaskIdentity.run_id, TaskIdentity.node_id = _TASK, _RUN, SUPERLINK_NODE_ID
        with _runtime(backend, state, _contexts(sites, run_config)):
            server_app(grid, Context(_RUN, SUPERLINK_NODE_ID, {}, RecordDict(), dict(run_config)))


class PinnedBackend(Backend):
    """Flower's client actors, each of which serves the same sites for the whole run."""

    def __init__(self, crew: Crew, sites: Mapping[str, SiteSource]) -> None:
        start = partial(_start_worker, dict(sites), crew.threads)
        gpus = crew.gpus / crew.workers
        share = ClientAppActor.options(num_cpus=1, num_gpus=gpus)  # type: ignore[attr-defined] # by ray.remote
        self._sites = list(sites)
        self._actors = [share.remote(on_actor_init_fn=start) for _ in range(crew.workers)]

    def build(self, app_fn: Callable[[], ClientApp]) -> None:
        """Nothing to build: the actors are there, and hold the app; part of Flower's interface."""

    @property
    def num_workers(self) -> int:
        """Messages under way at once: one a site, so that no actor waits while another's queue is served."""
        return len(self._sites)

    def is_worker_idle(self) -> bool:
        """Whether a message would be taken; an actor queues what it cannot serve at once."""
        return True

    def process_message(self, message: Message, context: Context) -> tuple[Message, Context]:
        """The reply of the site which the context's node is, and the context."""
        site = str(context.node_config["site"])
        actor = self._actors[self._sites.index(site) % len(self._actors)]
        _, reply, state = ray.get(actor.run.remote(_worker_app, message, site, context))
        return reply, state

    def terminate(self) -> None:
        """Nothing here: the actors end with Ray itself; part of Flower's interface."""


_in_this_worker: dict[str, ClientApp] = {}


def _start_worker(sites: Mapping[str, SiteSource], threads: int) -> None:
    import torch

    torch.set_num_threads(threads)
    _in_this_worker["app"] = serving(sites)


def _worker_app() -> ClientApp:
    return _in_this_worker["app"]


@contextmanager
def _runtime(backend: Backend, state: LinkStateFactory, contexts: Sequence[Context]) -> Iterator[None]:
    """Flower's simulation runtime in a thread beside the ServerApp, which so runs in the caller's."""
    stores = {context.node_id: _store(context) for context in contexts}
    numbers = {node: number for number, node in enumerate(stores)}
    done = threading.Event()
    arguments = (_worker_app, lambda: backend, numbers, state, stores, done, VceMetrics())
    thread = threading.Thread(target=run_api, args=arguments, daemon=True)
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join()


def _store(context: Context) -> DeprecatedRunInfoStore:
    store = DeprecatedRunInfoStore(context.node_id, context.node_config)
    store.run_infos[_RUN] = RunInfo(context, context.run_config.copy())
    return store


def _contexts(sites: Mapping[str, SiteSource], run_config: RunConfig) -> list[Context]:
    return [
        Context(_RUN, node, {"site": name}, RecordDict(), dict(run_config))
        for node, name in enumerate(sites, start=FIRST_SITE_NODE)
    ]


def _link_state(sites: int) -> LinkStateFactory:
    """Flower's link state with the run in it and every site online under a number of our own, not a random one."""
    factory = LinkStateFactory(FLWR_IN_MEMORY_DB_NAME, NoOpFederationManager(), ObjectStoreFactory())
    state = factory.state()
    if not isinstance(state, InMemoryLinkState):
        msg = f"Flower keeps its state in a {type(state).__name__}"
        raise TypeError(msg)
    run = Run.create_empty(run_id=_RUN)
    run.primary_task_id, run.federation_id = _TASK, NOOP_FEDERATION_ID
    state.run_ids[_RUN] = RunRecord(run=run)
    state.task_store[_TASK] = Task(task_id=_TASK, run_id=_RUN)
    for node in range(FIRST_SITE_NODE, FIRST_SITE_NODE + sites):
        state.nodes[node] = NodeInfo(node_id=node, status=NodeStatus.ONLINE, online_until=float("inf"))
    return factory


def _run_of(state: LinkStateFactory) -> Run:
    return state.state().get_run_info(run_ids=[_RUN])[0]
