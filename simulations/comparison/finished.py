"""The models of a finished simulation, ready to score patients whom no site has seen."""

from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

from fedescc.common.federation import Federation
from fedescc.server.fold_results import fold_files
from fedescc.server.results import read_json
from fedescc.simulations.comparison.comparators import Scorer
from fedescc.simulations.comparison.fold_comparison import EVERYWHERE, FoldComparison
from fedescc.simulations.comparison.ground_truth import LOCAL_PREFIX
from fedescc.simulations.hospitals import Hospitals


def finished_folds(
    out: Path, federation: Federation, hospitals: Hospitals, warm_start: Path | None = None
) -> list[FoldComparison]:
    """What may be compared in each fold that a run has finished in ``out``."""
    return [
        FoldComparison(
            hospitals.study,
            federation,
            hospitals.views(results["task"], feature_columns(results)),
            results,
            path.parent,
            warm_start,
        )
        for path in fold_files(out)
        for results in [read_json(path)]
    ]


def feature_columns(results: Mapping[str, Any]) -> set[str]:
    """What the models that the federation fitted in a fold are made from."""
    encodings = [model["encoding"] for model in results["comparator_models"].values() if model["encoding"]]
    return {covariate["name"] for encoding in encodings for covariate in encoding["covariates"]}


def scorers(fold: FoldComparison, chosen: Collection[str]) -> dict[str, Scorer]:
    """What can score patients of no site: every model but those that are a site's own, and these one by one."""
    models: dict[str, Scorer] = {"federated": fold.federated, **fold.wired()}
    if "local_only" in chosen:
        models |= {f"{LOCAL_PREFIX}{name}": model for name, model in fold.local.items()}
    return models | {name: EVERYWHERE[name](fold) for name in chosen if name in EVERYWHERE}
