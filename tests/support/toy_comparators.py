"""The toy federation's sites behind an evaluator, for what is asked of them outside a whole run."""

import numpy as np

from fedescc.client.app import make_client_app
from fedescc.client.local_site import LocalSite
from fedescc.common.tabular.covariates import Encoding, column_sums
from fedescc.server.evaluation.evaluate import Evaluator
from fedescc.server.exchange import Roster
from fedescc.simulations.engines.local_grid import LocalGrid, run_in_process

TASK = {"run": "r1"}


class Sites:
    """Sites of the toy federation that remember what they were asked, and the way to them."""

    def __init__(self, toy, shuffle=None):
        self.toy = toy
        self.sites = {name: LocalSite(name, toy.study, toy.policy(name), c) for name, c in toy.cohorts.items()}
        nodes = [{"site": name} for name in self.sites]
        self.grid = LocalGrid(make_client_app(self._open), nodes, {}, shuffle)
        run_in_process(lambda grid, context: None, self.grid, {})
        self.roster = Roster()

    def _open(self, context):
        name = str(context.node_config["site"])
        if name in self.toy.failing:
            raise self.toy.failing[name]
        return self.sites[name]

    def evaluator(self, weights=None, min_sites=2, **task):
        return Evaluator(self.grid, self.roster, self.toy.study, weights, TASK | task, 60.0, min_sites)

    def encoding(self):
        """By all training patients' moments."""
        study, cohorts = self.toy.study, self.toy.cohorts.values()
        sums = [column_sums(study, c.numeric, c.rows("train"), categorical=c.categorical) for c in cohorts]
        total = sums[0]
        for one in sums[1:]:
            total = total + one
        return Encoding.from_sums(study, total)

    def pooled(self, encoding, split="train", names=None):
        """Columns (n, k) and labels (n,) of all sites' patients, or of some sites'."""
        cohorts = [self.toy.cohorts[name] for name in names or self.toy.cohorts]
        rows = [cohort.rows(split) for cohort in cohorts]
        pieces = [encoding.encode(c.numeric, c.categorical, r) for c, r in zip(cohorts, rows, strict=True)]
        labels = [c.labels[r] for c, r in zip(cohorts, rows, strict=True)]
        return np.concatenate(pieces).astype(np.float64), np.concatenate(labels)
