"""METRICS of the plan's subgroups, from the patients of the sites that may show a level."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from fedescc.client.answers.subgroups import subgroup_codes
from fedescc.client.cohort import SiteCohort
from fedescc.common.analysis import MISSING, subgroup_levels
from fedescc.common.study import Study
from fedescc.common.subgroups import coarse_edges, hidden_levels
from fedescc.simulations.audit.bins import Locked
from fedescc.simulations.audit.classification import audit_classification
from fedescc.simulations.audit.contributions import Policies
from fedescc.simulations.audit.discrimination import audit_binned_auc
from fedescc.simulations.audit.figures import Ledger
from fedescc.simulations.audit.scores import Scored, pool

GROUP = "subgroups"


def audit_subgroups(
    ledger: Ledger,
    name: str,
    entries: Mapping[str, Mapping[str, Any]],
    test: Mapping[str, Scored],
    cohorts: Mapping[str, SiteCohort],
    study: Study,
    policies: Policies,
    locked: Locked,
) -> None:
    """Every level that is shown; ``test`` are the sites of the pooled figures."""
    coarse = Locked(np.array(coarse_edges(locked.edges.tolist())), locked.threshold)
    parts = {site: _by_level(test[site], cohorts[site], study, policies[site].min_class_count) for site in test}
    for subgroup, known in subgroup_levels(study).items():
        for place, level in enumerate((*known, MISSING)):
            label, record = f"{name} / {subgroup} {level}", entries.get(subgroup, {}).get(level)
            if record is None or record["n"] is None:
                ledger.skip(label, "not-released" if record is None else record["suppressed"]["n"])
                continue
            shown = [one for site in test if (one := parts[site][subgroup][place]) is not None and len(one.y)]
            if len(shown) != record["sites"]:
                ledger.check(GROUP, f"{label} sites", record["sites"], len(shown))
                continue
            audit_classification(ledger, label, record, pool(shown), coarse.threshold)
            audit_binned_auc(ledger, label, record, pool(shown), coarse)


def _by_level(scored: Scored, cohort: SiteCohort, study: Study, minimum: int) -> dict[str, list[Scored | None]]:
    """Subgroup -> the patients of each level; None where the site may not show it."""
    found: dict[str, list[Scored | None]] = {}
    for subgroup, (codes, levels) in subgroup_codes(study, cohort, cohort.rows("test")).items():
        of_level = [Scored(scored.y[codes == level], scored.logit[codes == level]) for level in range(levels)]
        negatives, positives = np.array([one.classes for one in of_level]).T
        hidden = hidden_levels(positives, negatives, minimum)
        found[subgroup] = [None if gone else one for one, gone in zip(of_level, hidden, strict=True)]
    return found
