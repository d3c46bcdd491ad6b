"""The explanations of a fold: of the run's own model by players, of linear models by columns."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from fedescc.client.cohort import SiteCohort
from fedescc.common.network.model import LinearModel
from fedescc.common.players import player_names
from fedescc.common.study import Study
from fedescc.simulations.audit.contributions import Policies, told_columns
from fedescc.simulations.audit.figures import Ledger
from fedescc.simulations.audit.pairs import Floats
from fedescc.simulations.audit.shapley import Players, audit_means, audit_reference, by_group, everybody, linear_values
from fedescc.simulations.audit.shapley_patients import FEW, audit_patient, network_values
from fedescc.simulations.comparison.comparators import Fitted

RANDOM = "made-with-random-models-or-samples"

Cohorts = Mapping[str, SiteCohort]
Entry = Mapping[str, Any]


def audit_explanation(
    ledger: Ledger,
    name: str,
    entry: Entry,
    fitted: Fitted,
    cohorts: Cohorts,
    trained: Cohorts,
    study: Study,
    policies: Policies,
) -> None:
    """One model's explanation; that of a fusion is its models'.

    Args:
        ledger: takes the figures.
        name: of the model.
        entry: its explanation in the results.
        fitted: the model and its encoding.
        cohorts: all sites.
        trained: those that gave statistics, of which the reference is made.
        study: players.
        policies: of the sites.

    """
    if entry["pooled"] is None:
        ledger.skip(f"{name} / explanation", entry.get("reason", "not-released"))
        return
    label, reference = f"{name} / explanation", np.array(entry["reference"]["values"])
    encoding = fitted.encoding
    if entry["reference"]["patients"]:
        enough = {s: c for s, c in trained.items() if len(c.rows("train")) >= policies[s].min_class_count}
        parts = [told_columns(cohort, encoding, study, policies[site], "train") for site, cohort in enough.items()]
        audit_reference(ledger, label, entry["reference"], parts)
    columns = {s: told_columns(cohorts[s], encoding, study, policies[s], "test") for s in entry["sites"]}
    by_column = set(encoding.columns) == set(entry["pooled"])
    players = encoding.columns if by_column else player_names(study)
    if isinstance(fitted.model, LinearModel):
        phi = {site: linear_values(fitted.model, X, reference) for site, X in columns.items()}
        values = {s: everybody(one if by_column else by_group(one, encoding, study)) for s, one in phi.items()}
    else:
        values = _of_network(ledger, fitted, cohorts, study, columns, reference)
    audit_means(ledger, label, entry, players, values)
    ledger.skip(f"{label} / gates, ranks and local baseline", RANDOM)
    if "columns" in entry:
        audit_explanation(ledger, f"{name} by columns", entry["columns"], fitted, cohorts, trained, study, policies)


def _of_network(
    ledger: Ledger,
    fitted: Fitted,
    cohorts: Cohorts,
    study: Study,
    columns: Mapping[str, Floats],
    reference: Floats,
) -> dict[str, Players]:
    """Values at every site, and ``shap`` on the first patients of some."""
    values: dict[str, Players] = {}
    for site, X in columns.items():
        found = network_values(fitted, cohorts[site], cohorts[site].rows("test"), study, X, reference)
        values[site] = found.phi, found.present
    for site in list(columns)[:FEW]:
        audit_patient(ledger, site, fitted, cohorts[site], study, columns[site][:1], reference)
    return values
