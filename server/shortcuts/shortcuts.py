"""Scanner shortcuts: how scans differ between sites, and whether the model's embeddings tell them apart."""

from dataclasses import replace
from typing import Any

from fedescc.server.evaluation.evaluator import Evaluator
from fedescc.server.shortcuts.drift import drift
from fedescc.server.shortcuts.predictable import predictable


def shortcuts(evaluator: Evaluator) -> dict[str, Any]:
    """The part ``shortcuts`` of results.json.

    Nothing here can fail a run: sites that refuse are named in these entries, and are not lost to the evaluation; what
    cannot be said is null with its reason. No test patient is looked at, so it may run at any time after training.

    Args:
        evaluator: of the run's own network, its task with run, fold, federation and encoding.

    """
    asking = replace(evaluator, refused={})
    return {"drift": drift(asking), "embeddings": predictable(asking)}
