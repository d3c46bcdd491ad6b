"""Where a simulated federation runs: in this process, or over Ray's worker processes (extra ``[ray]``)."""

from collections.abc import Callable, Mapping
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

from flwr.app import Context
from flwr.clientapp import ClientApp
from flwr.serverapp import ServerApp

from fedescc.client.app import make_client_app
from fedescc.client.local_site import LocalSite
from fedescc.common.errors import Refusal
from fedescc.simulations.engines.local_grid import LocalGrid, RunConfig, run_in_process

if TYPE_CHECKING:
    from flwr.serverapp import Grid

ENGINES = ("local", "ray")

SiteSource = Callable[[], LocalSite]
"""Opens a site, or raises why it cannot take part. For Ray it must be small to pickle: paths, not arrays."""


def run_engine(
    engine: str,
    server_app: "ServerApp | Callable[[Grid, Context], None]",
    sites: Mapping[str, SiteSource],
    run_config: RunConfig,
    shuffle: int | None = None,
) -> None:
    """Run a ServerApp over simulated sites; its exceptions reach the caller.

    Both engines give node ``100 + i`` to site ``i`` in the order of ``sites``, open a site once and give the same
    bits at equal thread counts.

    Args:
        engine: one of `ENGINES`.
        server_app: the coordinator's side.
        sites: name -> how its site is opened, at its first message.
        run_config: what the coordinator submits with the run.
        shuffle: seed of the order in which sites answer in process; Ray's order is its own.

    Raises:
        Refusal: unknown engine, or the engine's extra is not installed.

    """
    require_engine(engine)
    if engine == "ray":
        from fedescc.simulations.engines.ray_engine import run_over_ray

        run_over_ray(server_app, sites, run_config)
    else:
        grid = LocalGrid(serving(sites), [{"site": name} for name in sites], run_config, shuffle)
        run_in_process(server_app, grid, run_config)


def require_engine(engine: str) -> None:
    """Refuse an engine that cannot run here.

    Raises:
        Refusal: unknown engine, or the engine's extra is not installed.

    """
    if engine not in ENGINES:
        raise Refusal("unknown-engine", f"no engine {engine!r}", f"choose one of: {', '.join(ENGINES)}")
    if engine == "ray" and find_spec("ray") is None:
        raise Refusal("extra-missing", "the engine ray needs Ray", "pip install 'fedescc[ray]'")


def serving(sites: Mapping[str, SiteSource]) -> ClientApp:
    """A ClientApp that serves the site named by ``site`` of the node's configuration, each opened once."""
    opened: dict[str, LocalSite] = {}

    def open_site(context: Any) -> LocalSite:
        name = str(context.node_config["site"])
        if name not in opened:
            opened[name] = sites[name]()
        return opened[name]

    return make_client_app(open_site)
