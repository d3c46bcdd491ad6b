"""The encoding of covariates and image features: means, spreads, ranks and categories of what the sites tell."""

from collections.abc import Mapping

import numpy as np

from fedescc.client.cohort import SiteCohort
from fedescc.common.protocol import NumericVariable
from fedescc.common.study import Study
from fedescc.common.tabular.columns import CategoricalColumns, NumericColumn, QuantileColumn
from fedescc.common.tabular.covariate_sums import numeric_columns
from fedescc.common.tabular.covariates import Encoding
from fedescc.common.tabular.harmonisation import LANDMARK_STEPS, Harmonisation
from fedescc.common.tabular.moments import STEPS
from fedescc.common.tabular.quantiles import bin_edges
from fedescc.simulations.audit.contributions import Policies, told_landmarks, told_levels, told_values
from fedescc.simulations.audit.figures import EXACT, Ledger
from fedescc.simulations.audit.pairs import Floats

GROUP = "covariates"
RANKS = "covariates, ranks by bins"
CONSTANT = "never-varied"


def audit_encoding(
    ledger: Ledger,
    name: str,
    encoding: Encoding,
    study: Study,
    cohorts: Mapping[str, SiteCohort],
    policies: Policies,
) -> None:
    """Every covariate of an encoding.

    Args:
        ledger: takes the figures.
        name: of the model whose encoding it is.
        encoding: as published with the model.
        study: its covariates.
        cohorts: the sites that sent statistics.
        policies: of the sites.

    """
    variables = study.covariates | numeric_columns(study, list(encoding.features))
    told = [told_values(cohort, encoding, study, policies[site]) for site, cohort in cohorts.items()]
    for column in encoding.covariates:
        label, variable = f"{name} / {column.name}", variables[column.name]
        if isinstance(column, CategoricalColumns):
            _audit_categories(ledger, label, column, cohorts, policies, study.disclosure.min_class_count)
        elif isinstance(variable, NumericVariable):
            values = np.concatenate([one[column.name] for one in told])
            _audit_numeric(ledger, label, column, variable, values[~np.isnan(values)])
    if encoding.harmonisation is not None:
        _audit_harmonisation(ledger, name, encoding.harmonisation, study, cohorts, policies)


def _audit_numeric(
    ledger: Ledger, label: str, column: NumericColumn | QuantileColumn, variable: NumericVariable, values: Floats
) -> None:
    if isinstance(column, NumericColumn):
        low, high = variable.range
        # Values are rounded to steps of the range, so that neither a mean nor an SD moves by more than half a step.
        step = (high - low) / STEPS / 2 * (1 + EXACT)
        ledger.check(GROUP, f"{label} mean", column.mean, float(np.mean(values)), step)
        ledger.check(GROUP, f"{label} sd", column.sd, float(np.std(values)), step)
    else:
        _audit_ranks(ledger, label, column, variable, values)


def _audit_ranks(ledger: Ledger, label: str, column: QuantileColumn, variable: NumericVariable, values: Floats) -> None:
    """The rank that the encoding gives each knot, against the share of the pooled patients below it.

    Between neighbouring knots lie 5 % of the patients, and a patient's place inside one of 256 bins is unknown.
    """
    from scipy.stats import norm, rankdata

    exact = norm.ppf((rankdata(values) - 0.5) / len(values))
    encoded = np.interp(values, column.knots, column.scores)
    if np.ptp(encoded) == 0:
        ledger.skip(label, CONSTANT)
        return
    slope, centre = np.polyfit(encoded, exact, 1)
    ranks = norm.cdf(centre + slope * np.array(column.scores))
    below = np.searchsorted(np.sort(values), column.knots, side="left")
    up_to = np.searchsorted(np.sort(values), column.knots, side="right")
    expected = (below + up_to) / 2 / len(values)
    inside = slice(1, -1)
    gap = np.abs(ranks - expected)[inside]
    counts = np.histogram(values, bin_edges(variable))[0]
    tolerance = float(counts.max()) / len(values) + 0.05
    ledger.check(RANKS, f"{label} largest error of a rank", float(gap.max(initial=0.0)), 0.0, tolerance)


def _audit_categories(
    ledger: Ledger,
    label: str,
    column: CategoricalColumns,
    cohorts: Mapping[str, SiteCohort],
    policies: Policies,
    least: int,
) -> None:
    """Which categories have a column of their own: those of which the sites together tell enough patients."""
    told = np.zeros(len(column.categories), np.int64)
    for site, cohort in cohorts.items():
        rows = cohort.rows("train")
        codes = cohort.categorical[column.name][rows]
        told += told_levels(codes, cohort.groups(rows), len(column.categories), policies[site])
    frequent = {category for category, n in zip(column.categories, told, strict=True) if n >= least}
    odd = len(frequent.symmetric_difference(column.kept))
    ledger.check(GROUP, f"{label} categories that should or should not have a column", odd, 0.0)


def _audit_harmonisation(
    ledger: Ledger, name: str, found: Harmonisation, study: Study, cohorts: Mapping[str, SiteCohort], policies: Policies
) -> None:
    """The mean landmarks of all scans, which are sent in steps of 2^-20 of the window."""
    if study.imaging is None:
        return
    parts = [told_landmarks(cohort, study.imaging, policies[site]) for site, cohort in cohorts.items()]
    fat, bright = np.concatenate(parts).mean(axis=0)
    step = 0.5 / LANDMARK_STEPS * (1 + EXACT)
    ledger.check(GROUP, f"{name} / fat landmark", found.fat, float(fat), step)
    ledger.check(GROUP, f"{name} / bright landmark", found.bright, float(bright), step)
