"""Screening sums: equal to the pooled computation bit for bit, and to scipy's Welch test and numpy's correlation."""

import numpy as np
import pytest
from scipy.stats import ttest_ind

from fedescc.common.disclosure.groups import Rule
from fedescc.common.errors import Refusal
from fedescc.common.protocol import NumericVariable
from fedescc.common.statistics.relevance import ClassMoments, Products, choose, class_moments, products

NAMES = ["a", "b", "c", "d"]
VARIABLES = {n: NumericVariable(type="numeric", unit="", range=(-10, 10), available_at="baseline") for n in NAMES}


def patients(seed, n=120):
    rng = np.random.default_rng(seed)
    labels = (rng.random(n) < 0.4).astype(np.int8)
    a = np.clip(rng.normal(size=n) + labels, -9, 9)
    numeric = {"a": a, "b": np.clip(a + 0.1 * rng.normal(size=n), -9, 9), "c": rng.normal(size=n), "d": np.full(n, 2.0)}
    numeric["c"][rng.random(n) < 0.2] = np.nan
    return numeric, labels


def split_up(numeric, labels, cuts):
    rows = np.split(np.arange(len(labels)), cuts)
    return [({name: v[r] for name, v in numeric.items()}, labels[r], np.arange(len(r))) for r in rows]


def test_sums_over_sites_are_the_pooled_sums_exactly():
    numeric, labels = patients(1)
    everybody = np.arange(len(labels))
    pooled = class_moments(VARIABLES, numeric, labels, everybody)
    sites = split_up(numeric, labels, [30, 31, 90])
    moments = [class_moments(VARIABLES, own, y, rows) for own, y, rows in sites]
    total = moments[0] + moments[1] + moments[2] + moments[3]
    assert (total.table == pooled.table).all()
    assert total.relevance().tolist() == pooled.relevance().tolist()
    centres = pooled.centres()
    parts = [products(VARIABLES, own, rows, centres, Rule(1)) for own, _, rows in sites]
    whole = products(VARIABLES, numeric, everybody, centres, Rule(1))
    assert ((parts[0] + parts[1] + parts[2] + parts[3]).triangle == whole.triangle).all()


def test_relevance_is_welchs_t():
    numeric, labels = patients(2)
    found = class_moments(VARIABLES, numeric, labels, np.arange(len(labels))).relevance()
    for column, name in enumerate(NAMES[:3]):
        test = ttest_ind(numeric[name][labels == 1], numeric[name][labels == 0], equal_var=False, nan_policy="omit")
        assert found[column] == pytest.approx(abs(test.statistic), rel=1e-5)
    assert found[3] == 0


def test_a_feature_that_parts_the_classes_without_any_spread_is_finitely_relevant():
    labels = np.array([0, 0, 1, 1], np.int8)
    numeric = {"a": np.array([1.0, 1.0, 2.0, 2.0])}
    found = class_moments({"a": VARIABLES["a"]}, numeric, labels, np.arange(4)).relevance()
    assert np.isfinite(found).all()
    assert found[0] > 1e4


@pytest.mark.parametrize("present", [0, 1])
def test_too_few_values_of_a_class_have_no_relevance(present):
    labels = np.array([0, 0, 0, 1, 1], np.int8)
    values = np.array([1.0, 2.0, 3.0, np.nan, 9.0 if present else np.nan])
    assert class_moments({"a": VARIABLES["a"]}, {"a": values}, labels, np.arange(5)).relevance().tolist() == [0.0]


def test_correlation_is_numpys_with_missing_values_at_the_mean():
    numeric, labels = patients(3)
    everybody = np.arange(len(labels))
    centres = class_moments(VARIABLES, numeric, labels, everybody).centres()
    found = products(VARIABLES, numeric, everybody, centres, Rule(1)).correlation(4)
    filled = np.stack([np.where(np.isnan(v), np.nanmean(v), v) for v in list(numeric.values())[:3]])
    assert found[:3, :3] == pytest.approx(np.corrcoef(filled), abs=1e-5)
    assert found[3].tolist() == [0.0] * 4


def test_a_feature_that_few_of_a_class_have_is_hidden_in_both_classes():
    """Statistics tell the sums of both classes together: the other class's alone would tell this one's."""
    table = np.array([[[5, 9], [2, 9]], [[50, 90], [20, 90]], [[500, 900], [200, 900]]])
    hidden = ClassMoments(table).hide_small(3).table
    assert hidden[:, :, 0].tolist() == [[0, 0]] * 3
    assert (hidden[:, :, 1] == table[:, :, 1]).all()


def test_products_of_values_that_few_patients_have_both_of_are_nothing():
    a = np.array([1.0, 2.0, 3.0, np.nan, np.nan])
    b = np.array([np.nan, np.nan, 5.0, 6.0, 7.0])
    variables = {name: VARIABLES[name] for name in "ab"}
    found = products(variables, {"a": a, "b": b}, np.arange(5), [0, 0], Rule(3)).triangle
    assert found[1] == 0
    assert found[0] > 0
    assert found[2] > 0
    assert products(variables, {"a": a, "b": b}, np.arange(5), [0, 0], Rule(1)).triangle[1] != 0


def test_the_choice_takes_the_best_and_drops_what_repeats_it():
    correlation = np.eye(4)
    correlation[0, 1] = correlation[1, 0] = -0.95
    correlation[2, 3] = correlation[3, 2] = 0.9
    relevance = np.array([3.0, 4.0, 2.0, 1.0])
    assert choose(relevance, correlation, 4) == [1, 2, 3]
    assert choose(relevance, correlation, 1) == [1]
    assert choose(relevance, correlation, 0) == []
    assert choose(np.array([1.0, 0.0, 1.0, 1.0]), np.eye(4), 4) == [0, 2, 3]


def test_sums_of_other_features_cannot_be_added():
    with pytest.raises(Refusal, match="feature-mismatch"):
        ClassMoments(np.zeros((3, 2, 2), int)) + ClassMoments(np.zeros((3, 2, 3), int))
    with pytest.raises(Refusal, match="feature-mismatch"):
        Products(np.zeros(3, int)) + Products(np.zeros(6, int))
