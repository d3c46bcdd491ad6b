"""The coordinator's Flower ServerApp: a thin adapter from a run's configuration to `Run.execute`."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from flwr.app import Context
from flwr.serverapp import Grid, ServerApp

from fedescc.common.federation import read_federation
from fedescc.common.study import Study
from fedescc.common.yamlfile import parse_model
from fedescc.server.federate import Run
from fedescc.server.fold import OnRound
from fedescc.server.modes import Plan, read_mode
from fedescc.server.training.rounds import ignore_record


def make_server_app(on_round: OnRound = ignore_record) -> ServerApp:
    """A ServerApp that runs the study in its run configuration; ``on_round`` is told of each finished round.

    Run configuration: ``study`` and ``federation`` as YAML text, ``out`` as the folder for the results; and what a
    `Plan` has: ``mode``, ``folds``, ``comparators`` (comma separated; absent: the study's), ``warm_start`` (a file),
    ``contribution``, ``patients``.
    """
    app = ServerApp()

    @app.main()
    def main(grid: Grid, context: Context) -> None:
        study = parse_model(str(context.run_config["study"]), Study, "the run's study")
        federation = read_federation(str(context.run_config["federation"]), "the run's settings")
        Run(grid, study, federation, _plan(context.run_config), on_round).execute(Path(str(context.run_config["out"])))

    return app


def _plan(config: Mapping[str, Any]) -> Plan:
    comparators = config.get("comparators")
    warm_start = str(config.get("warm_start", ""))
    return Plan(
        mode=read_mode(str(config.get("mode", "split"))),
        folds=int(config.get("folds", 5)),
        comparators=None if comparators is None else tuple(name for name in str(comparators).split(",") if name),
        warm_start=Path(warm_start) if warm_start else None,
        contribution=bool(config.get("contribution", False)),
        cohort=str(config.get("patients", "")),
    )


app = make_server_app()
