"""The coordinator's Flower ServerApp: a thin adapter from a run's configuration to `Run.execute`."""

from pathlib import Path

from flwr.app import Context
from flwr.serverapp import Grid, ServerApp

from fedescc.common.federation import read_federation
from fedescc.common.study import Study
from fedescc.common.yamlfile import parse_model
from fedescc.server.federate import OnRound, Run
from fedescc.server.rounds import ignore_record


def make_server_app(on_round: OnRound = ignore_record) -> ServerApp:
    """A ServerApp that runs the study in its run configuration; ``on_round`` is told of each finished round.

    Run configuration: ``study`` and ``federation`` as YAML text, ``out`` as the folder for the results.
    """
    app = ServerApp()

    @app.main()
    def main(grid: Grid, context: Context) -> None:
        study = parse_model(str(context.run_config["study"]), Study, "the run's study")
        federation = read_federation(str(context.run_config["federation"]), "the run's settings")
        Run(grid, study, federation, on_round).execute(Path(str(context.run_config["out"])))

    return app


app = make_server_app()
