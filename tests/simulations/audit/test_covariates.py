"""Encodings of several sites' patients, against their values in one place."""

import numpy as np
import pytest
from audited import failed
from toy_federation import STUDY, make_cohort

from fedescc.client.site import ReleasePolicy
from fedescc.common.study import Study
from fedescc.common.sums import add_up
from fedescc.common.tabular.covariates import Encoding, column_sums
from fedescc.common.yamlfile import parse_model
from fedescc.simulations.audit.covariates import audit_encoding
from fedescc.simulations.audit.figures import Ledger

SITES = {"site-a": 160, "site-b": 120, "site-c": 90}
OPEN = dict.fromkeys(SITES, ReleasePolicy(min_class_count=1, score_histogram="plain"))


@pytest.fixture
def cohorts():
    return {name: make_cohort(name, n) for name, n in SITES.items()}


def study_with(text=STUDY):
    return parse_model(text.replace("min_class_count: 3", "min_class_count: 1"), Study, "toy")


def encoding_of(study, cohorts):
    sums = [column_sums(study, c.numeric, c.rows("train"), categorical=c.categorical) for c in cohorts.values()]
    return Encoding.from_sums(study, add_up(sums))


def audited(encoding, study, cohorts, policies=OPEN):
    ledger = Ledger()
    audit_encoding(ledger, "encoding", encoding, study, cohorts, policies)
    return ledger


def changed(encoding, place, **values):
    columns = list(encoding.covariates)
    columns[place] = columns[place].model_copy(update=values)
    return encoding.model_copy(update={"covariates": tuple(columns)})


def test_a_right_encoding_passes(cohorts):
    study = study_with()
    ledger = audited(encoding_of(study, cohorts), study, cohorts)
    assert failed(ledger) == []
    assert [figure.name for figure in ledger.figures] == [
        "encoding / age mean",
        "encoding / age sd",
        "encoding / marker mean",
        "encoding / marker sd",
        "encoding / sex categories that should or should not have a column",
    ]
    # Half a step of 2^-20 of 0..120 years.
    assert ledger.figures[0].tolerance == pytest.approx(120 / 2**21, rel=1e-5)


def test_changed_moments_and_categories_are_found(cohorts):
    study = study_with()
    encoding = encoding_of(study, cohorts)
    age, sex = encoding.covariates[0], encoding.covariates[2]
    assert failed(audited(changed(encoding, 0, mean=age.mean + 1e-4), study, cohorts)) == ["encoding / age mean"]
    assert failed(audited(changed(encoding, 0, sd=age.sd - 1e-4), study, cohorts)) == ["encoding / age sd"]
    fewer = changed(encoding, 2, kept=sex.kept[:1])
    assert failed(audited(fewer, study, cohorts)) == [
        "encoding / sex categories that should or should not have a column"
    ]


def test_the_encoding_of_one_site_is_not_that_of_all(cohorts):
    study = study_with()
    alone = encoding_of(study, {"site-a": cohorts["site-a"]})
    assert {"encoding / age mean", "encoding / marker mean"} <= set(failed(audited(alone, study, cohorts)))


def test_ranks_are_those_of_the_pooled_values_within_their_bins(cohorts):
    study = study_with(STUDY.replace("unit: ng/mL,", "unit: ng/mL, transform: quantile,"))
    encoding = encoding_of(study, cohorts)
    ledger = audited(encoding, study, cohorts)
    assert failed(ledger) == []
    [rank] = [figure for figure in ledger.figures if "rank" in figure.name]
    assert rank.federated < 0.02
    shifted = tuple(knot * 0.5 for knot in encoding.covariates[1].knots)
    assert failed(audited(changed(encoding, 1, knots=shifted), study, cohorts)) == [rank.name]


def test_a_value_that_never_varied_has_no_ranks(cohorts):
    study = study_with(STUDY.replace("unit: ng/mL,", "unit: ng/mL, transform: quantile,"))
    for cohort in cohorts.values():
        cohort.numeric["marker"][:] = 7.0
    ledger = audited(encoding_of(study, cohorts), study, cohorts)
    assert ledger.skipped == {"encoding / marker": "never-varied"}
    assert failed(ledger) == []


def test_values_that_a_site_may_not_tell_are_left_out(cohorts):
    """Two of a site's patients have no marker: under a minimum of 10, eight more stay out, here as there."""
    study = study_with()
    strict = OPEN | {"site-a": ReleasePolicy(min_class_count=10, score_histogram="plain", dominance_percent=0)}
    for name, cohort in cohorts.items():
        rows = cohort.rows("train")
        cohort.numeric["marker"][rows] = np.linspace(10, 400, len(rows)) + 5 * len(name)
        cohort.numeric["marker"][rows[:2]] = np.nan
    ledger = audited(encoding_of(study, cohorts), study, cohorts, strict)
    assert "encoding / marker mean" in failed(ledger)  # the encoding was made of all of them
    assert "encoding / age mean" not in failed(ledger)
