"""Curves as the coordinator publishes them of a histogram, against scikit-learn on the patients."""

import copy

import numpy as np
import pytest
from audited import EDGES, THRESHOLD, failed

from fedescc.common.analysis import Analysis
from fedescc.common.statistics.roc import Estimate, roc_curve_from_histogram, score_histogram
from fedescc.server.evaluation.curves import curve_entries, no_curves
from fedescc.simulations.audit.bins import Locked
from fedescc.simulations.audit.curves import audit_curves, audit_roc
from fedescc.simulations.audit.figures import NOT_RELEASED, Ledger
from fedescc.simulations.audit.scores import Scored

PLANNED = (0.2, 0.3, 0.5)
WITH_PLAN = np.union1d(EDGES, np.log(np.array(PLANNED) / (1 - np.array(PLANNED))))
PLAN = Analysis(partial_auc=0.2, decision_thresholds=PLANNED)


@pytest.fixture
def locked():
    return Locked(WITH_PLAN, THRESHOLD)


@pytest.fixture
def final(scored):
    histogram = score_histogram(scored.y, scored.logit, WITH_PLAN)
    return curve_entries(Estimate(histogram), WITH_PLAN.tolist(), PLAN)


def audited(final, scored, locked):
    ledger = Ledger()
    audit_curves(ledger, "m", final, scored, locked)
    return ledger


def test_right_curves_pass(final, scored, locked):
    ledger = audited(final, scored, locked)
    assert failed(ledger) == []
    names = {figure.name for figure in ledger.figures}
    assert {"m / average precision", "m / partial auc", "m / decision / net benefit at 0.3"} <= names
    assert {"m / calibration curve / observed, largest difference", "m / calibration curve / patients"} <= names


def changed(final, key, value=1e-5):
    curves = copy.deepcopy(final)
    where, column, place = key
    curves["curves"][where][column][place] += value
    return curves


@pytest.mark.parametrize(
    ("key", "name"),
    [
        (("decision", "model", 1), "m / decision / net benefit at 0.3"),
        (("decision", "treat_all", 2), "m / decision / net benefit of treating all at 0.5"),
        (("calibration", "observed", 0), "m / calibration curve / observed, largest difference"),
        (("calibration", "predicted", 3), "m / calibration curve / predicted, largest difference"),
        (("calibration", "high", 2), "m / calibration curve / high, largest difference"),
        (("precision_recall", "precision", 4), "m / precision_recall, farthest point from the exact curve"),
        (("precision_recall", "recall", 9), "m / precision_recall, farthest point from the exact curve"),
    ],
)
def test_a_changed_point_is_found(key, name, final, scored, locked):
    assert failed(audited(changed(final, key), scored, locked)) == [name]


def test_changed_areas_are_found(final, scored, locked):
    partial = final["partial_auc"] | {"auc": final["partial_auc"]["auc"] + 1e-5}
    wrong = final | {"average_precision": final["average_precision"] - 1e-5, "partial_auc": partial}
    assert failed(audited(wrong, scored, locked)) == ["m / average precision", "m / partial auc"]


def test_a_group_of_the_calibration_curve_too_many_is_found(final, scored, locked):
    wrong = copy.deepcopy(final)
    for values in wrong["curves"]["calibration"].values():
        values.pop()
    assert failed(audited(wrong, scored, locked)) == ["m / calibration curve / groups"]


def test_curves_that_are_null_are_passed_over(scored, locked):
    ledger = audited(no_curves("histogram-not-released"), scored, locked)
    assert ledger.figures == []
    assert ledger.skipped == {"m / average precision": NOT_RELEASED}
    alone = audited(no_curves("one-class"), Scored(np.zeros(200, np.int8), scored.logit), locked)
    assert alone.skipped == {"m / curves": "one-class"}


def roc(scored):
    curve = roc_curve_from_histogram(score_histogram(scored.y, scored.logit, EDGES), EDGES).value
    return {"fpr": curve.false_positive_rate.tolist(), "tpr": curve.true_positive_rate.tolist()}


def test_an_edges_roc_point_lies_on_the_exact_curve(scored):
    ledger = Ledger()
    audit_roc(ledger, "m", roc(scored), scored)
    assert failed(ledger) == []
    moved = roc(scored)
    moved["tpr"][5] += 1e-4
    audit_roc(ledger, "m", moved, scored)
    assert failed(ledger) == ["m / roc, farthest point from the exact curve"]
