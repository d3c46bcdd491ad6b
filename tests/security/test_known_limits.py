"""What a coordinator who breaks the protocol can still learn, as docs/disclosure.md says: exactly so much.

Whoever closes one of these takes it off the page, and turns the test round.
"""

import re
from pathlib import Path

import numpy as np
import pytest
from attacked_site import COEFFICIENTS, ENCODING, TOY, ask, cohort_of, site_of

from fedescc.client.answers.dispatch import answer
from fedescc.client.local_site import LocalSite
from fedescc.common import wire
from fedescc.common.disclosure.budget import budget_of
from fedescc.common.errors import Refusal
from fedescc.common.schema import ALLOWED
from fedescc.common.wire import Request

PAGE = Path(__file__).parents[2] / "docs" / "disclosure.md"
LINEAR = {"encoding": {**ENCODING, "covariates": ENCODING["covariates"][:1]}, "model": "linear"}
OF_AGE = np.array([0.0, 1.0, 0.0], np.float32)


def test_the_page_has_every_budget() -> None:
    rows = re.findall(r"^\| (`[^|]+) \| ([\d,]+) \| ([\d,]+) \|$", PAGE.read_text(), re.MULTILINE)
    told = {kind: (run, study) for kinds, run, study in rows for kind in re.findall(r"`([^`]+)`", kinds)}
    assert {kind: tuple(f"{limit:,}" for limit in budget_of(kind, {})) for kind in ALLOWED} == told


def test_thirty_validations_place_a_patients_age() -> None:
    """The oldest of those with the outcome, by halving, although the site keeps its histograms."""
    site = site_of(cohort_of(21, 160, missing=0.0))
    rows = site.cohort.rows("validation")
    low, high = -3.0, 4.0
    for _ in range(30):
        middle = (low + high) / 2
        task = {"run": "r1", **LINEAR, "edges": [0.0], "threshold": middle}
        sums = answer(site, wire.VALIDATION, Request(TOY.sha256, task, OF_AGE)).sums
        assert "positives" not in sums
        low, high = (middle, high) if sums["tp"] else (low, middle)
    ages = site.cohort.numeric["age"][rows][site.cohort.labels[rows] == 1]
    assert 50 + 10 * low == pytest.approx(ages.max(), abs=1e-4)


def test_two_steep_regressions_tell_one_patients_columns() -> None:
    site = site_of(cohort_of(22, 300, missing=0.0))
    rows = site.cohort.rows("train")
    ages = np.sort((site.cohort.numeric["age"][rows] - 50) / 10)
    gap = int(np.argmax(np.minimum(np.diff(ages)[:-1], np.diff(ages)[1:])))
    between = [(ages[gap] + ages[gap + 1]) / 2, (ages[gap + 1] + ages[gap + 2]) / 2]
    gradients = []
    for threshold in between:
        at = [-1e4 * threshold, 1e4, *[0.0] * (COEFFICIENTS - 2)]
        gradients.append(np.array(ask(site, wire.LOGISTIC, encoding=ENCODING, coefficients=at)["gradient"]) / 2.0**38)
    of_one = gradients[0] - gradients[1]
    assert of_one[0] == pytest.approx(1.0)
    assert of_one[1] == pytest.approx(ages[gap + 1], abs=1e-6)
    (row,) = rows[np.isclose(site.cohort.numeric["age"][rows], 50 + 10 * ages[gap + 1])]
    assert of_one[3] == pytest.approx((site.cohort.numeric["marker"][row] - 400) / 100, abs=1e-6)


def test_a_site_that_gives_regressions_no_budget_is_not_asked_twice() -> None:
    site = site_of(cohort_of(22, 300, missing=0.0), query_budget={wire.LOGISTIC: (0, 0)})
    with pytest.raises(Refusal, match=r"\[query-budget-spent\]"):
        ask(site, wire.LOGISTIC, encoding=ENCODING, coefficients=[0.0] * COEFFICIENTS)


def test_a_hessian_at_zero_counts_the_patients_of_two_flags() -> None:
    """Both flags are of many patients; of those who have both, three are told."""
    cohort = cohort_of(23, 300, missing=0.0)
    rows = cohort.rows("train")
    cohort.categorical["sex"][rows] = np.arange(len(rows)) < 20
    cohort.numeric["marker"][rows[17:37]] = np.nan
    hessian = np.zeros((COEFFICIENTS, COEFFICIENTS))
    found = ask(site_of(cohort), wire.LOGISTIC, encoding=ENCODING, coefficients=[0.0] * COEFFICIENTS)["hessian"]
    hessian[np.triu_indices(COEFFICIENTS)] = np.array(found) / 2.0**28
    missing, male = 4, 6
    assert 4 * hessian[missing, missing] == pytest.approx(20)
    assert 4 * hessian[male, male] == pytest.approx(20)
    assert 4 * hessian[missing, male] == pytest.approx(3)


def test_another_runs_name_gives_another_reference() -> None:
    site = site_of(cohort_of(24, 300, missing=0.0))
    totals = []
    for run in ("r1", "r2"):
        task = {"run": run, **LINEAR}
        look = {"edges": [0.0], "threshold": 0.0, "plan": TOY.analysis.sha256}
        answer(site, wire.TEST, Request(TOY.sha256, task | look, OF_AGE))
        reference = {"reference": [0.5 if run == "r2" else 0.0, 0.0]}
        totals.append(answer(site, wire.EXPLANATION, Request(TOY.sha256, task | reference, OF_AGE)).sums["absolute"])
    assert totals[0] != totals[1]
    with pytest.raises(Refusal, match=r"\[another-reference\]"):
        answer(site, wire.EXPLANATION, Request(TOY.sha256, task | {"reference": [0.0, 0.0]}, OF_AGE))


def test_a_new_process_follows_another_division() -> None:
    cohort = cohort_of(25, 200)
    fold = {"mode": "kfold", "index": 0, "of": 3}
    site = site_of(cohort)
    ask(site, wire.STATISTICS)
    with pytest.raises(Refusal, match=r"\[another-division\]"):
        ask(site, wire.STATISTICS, fold=fold)
    again: LocalSite = site_of(cohort)
    assert ask(again, wire.STATISTICS, fold=fold)["n_train"] > 0
