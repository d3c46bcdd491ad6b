"""What was locked of each model before the test set opened, and whether its bins are those of the pooled scores."""

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from fedescc.common.statistics.score_bins import fine_logit_edges, quantile_edges
from fedescc.common.study import Study
from fedescc.server.evaluation.opening import OPENING
from fedescc.server.results import read_json
from fedescc.simulations.audit.figures import Ledger
from fedescc.simulations.audit.scores import Floats, Scored
from fedescc.simulations.comparison.fold_comparison import FoldComparison

GROUP = "bins"


@dataclass(frozen=True, eq=False)
class Locked:
    """Of one model.

    Attributes:
        edges: increasing logits between bins.
        threshold: logit at and above which a patient is called positive.

    """

    edges: Floats
    threshold: float

    def binned(self, scored: Scored) -> Scored:
        """The patients with the number of their bin as score, whose ties are the histogram's."""
        return Scored(scored.y, np.digitize(scored.logit, self.edges).astype(np.float64))


def read_locks(fold: FoldComparison) -> dict[str, Locked]:
    """Model -> what the fold's opening says of it.

    Raises:
        Refusal: the fold's folder has no readable opening.

    """
    models = read_json(fold.folder / OPENING)["models"]
    return {name: Locked(np.array(one["edges"]), float(one["threshold"])) for name, one in models.items()}


def audit_bins(ledger: Ledger, name: str, locked: Locked, training: Iterable[Scored], study: Study) -> None:
    """Edges by the server's rule on the pooled training scores: quantiles, and logits that the plan asks for."""
    from scipy.special import logit

    fine = fine_logit_edges()
    scores = np.concatenate([np.zeros(0), *(one.logit for one in training)])
    if not len(scores):
        ledger.skip(f"{name} / bins", "no-training-scores")
        return
    counts = np.histogram(scores, bins=[-np.inf, *fine, np.inf])[0]
    planned = logit(np.array([0.5, *study.analysis.decision_thresholds]))
    expected = np.union1d(quantile_edges(counts, fine, study.analysis.histogram_bins), planned)
    odd = len(np.setxor1d(expected, locked.edges))
    ledger.check(GROUP, f"{name} / edges that are in one set only", odd, 0.0)
