"""Net benefit counted patient by patient, by hand, and between the edges."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from scored_patients import Floats, Labels, code, known, patients, tied_scores

from fedescc.common.statistics.decision import decision_curve, threshold_logits
from fedescc.common.statistics.roc import ClassHistogram, probability, score_histogram

CHANCES = st.lists(st.floats(0.01, 0.99), min_size=1, max_size=8)
EDGES = np.arange(-3, 5).astype(np.float64)
QUARTER_INTO_A_BIN = float(probability(1.25))


def net_benefit(y: Labels, s: Floats, chance: float) -> float:
    """Vickers & Elkin 2006, from the patients themselves; a positive is called at logit(chance) and above."""
    called = s >= math.log(chance) - math.log1p(-chance)
    return float((called & y).sum() - (called & ~y).sum() * chance / (1 - chance)) / y.size


def test_net_benefit_by_hand() -> None:
    """100 patients, 30 with the outcome; at 20 %, 25 of them and 35 others are called: .25 - .35 / 4."""
    counts = ClassHistogram(np.array([35, 35]), np.array([5, 25]))
    found = known(decision_curve(counts, threshold_logits([0.2]), [0.2]))
    assert found.model == pytest.approx([0.1625], abs=1e-15)
    assert found.treat_all == pytest.approx([0.125], abs=1e-15)
    assert found.exact.tolist() == [True]


@given(tied_scores(), CHANCES)
def test_net_benefit_is_exact_where_thresholds_are_edges(sample: tuple[Labels, Floats], chances: list[float]) -> None:
    y, s = sample
    edges = np.unique(np.concatenate([EDGES + 0.25, threshold_logits(chances)]))
    found = known(decision_curve(score_histogram(y, s, edges), edges, chances))
    assert found.exact.all()
    assert found.thresholds.tolist() == chances
    away = [float(np.abs(s - logit).min()) for logit in threshold_logits(chances)]
    for model, chance, distance in zip(found.model, chances, away, strict=True):
        if distance > 1e-12:  # two ways to round a logit may disagree about a patient just there
            assert model == pytest.approx(net_benefit(y, s, chance), abs=1e-12)


@given(tied_scores(), CHANCES)
def test_treating_all_is_net_benefit_of_calling_everybody(sample: tuple[Labels, Floats], chances: list[float]) -> None:
    y, s = sample
    found = known(decision_curve(score_histogram(y, s, EDGES), EDGES, chances))
    everybody = [net_benefit(y, np.full(y.size, 99.0), chance) for chance in chances]
    assert found.treat_all == pytest.approx(everybody, abs=1e-12)


@given(tied_scores(), CHANCES)
def test_net_benefit_stays_within_its_bounds(sample: tuple[Labels, Floats], chances: list[float]) -> None:
    """Never above prevalence, nor below calling all negatives and no positive."""
    y, s = sample
    found = known(decision_curve(score_histogram(y, s, EDGES), EDGES, chances))
    odds = found.thresholds / (1 - found.thresholds)
    assert (found.model <= y.mean() + 1e-12).all()
    assert (found.model >= -odds * (1 - y.mean()) - 1e-12).all()


@given(hnp.arrays(np.int64, (2, 9), elements=st.integers(0, 20)).filter(lambda c: bool(c.sum(axis=1).all())))
def test_within_a_bin_patients_are_spread_evenly_over_logits(counts: Floats) -> None:
    """A quarter into the bin from 1 to 2, three quarters of its patients are still called."""
    negatives, positives = counts
    chance = QUARTER_INTO_A_BIN
    found = known(decision_curve(ClassHistogram(negatives, positives), EDGES, [chance]))
    called = [float(0.75 * side[5] + side[6:].sum()) for side in (positives, negatives)]
    expected = (called[0] - called[1] * chance / (1 - chance)) / counts.sum()
    assert found.model == pytest.approx([expected], abs=1e-9)
    assert found.exact.tolist() == [False]


def test_between_edges_net_benefit_is_within_two_thousandths() -> None:
    """Thresholds of 10 to 50 % that are no edges, 50 bins at training quantiles, 300 test patients."""
    rng, errors = np.random.default_rng(8), []
    chances = [0.1, 0.2, 0.3, 0.4, 0.5]
    for _ in range(100):
        y, s = patients(rng, 300, gap=1.3)
        edges = np.unique(np.quantile(patients(rng, 210, gap=1.3)[1], np.arange(1, 50) / 50))
        found = known(decision_curve(score_histogram(y, s, edges), edges, chances))
        errors.extend(found.model - np.array([net_benefit(y, s, chance) for chance in chances]))
    assert np.abs(errors).mean() < 0.002


def test_far_below_and_above_all_edges_everybody_and_nobody_is_called() -> None:
    counts = ClassHistogram(np.array([4, 3, 2]), np.array([1, 2, 3]))
    found = known(decision_curve(counts, [-1.0, 1.0], [0.001, 0.999]))
    assert found.model == pytest.approx([float(found.treat_all[0]), 0.0], abs=1e-15)
    assert found.exact.tolist() == [False, False]


def test_one_edge_is_enough() -> None:
    counts = ClassHistogram(np.array([4, 3]), np.array([1, 2]))
    assert known(decision_curve(counts, [0.0], [0.5])).model == pytest.approx([(2 - 3) / 10], abs=1e-15)


@given(tied_scores(at_least=4), st.integers(1, 7))
def test_curve_does_not_tell_how_patients_are_divided(sample: tuple[Labels, Floats], cut: int) -> None:
    y, s = sample
    parts = score_histogram(y[cut:], s[cut:], EDGES) + score_histogram(y[:cut], s[:cut], EDGES)
    found = known(decision_curve(parts, EDGES, [0.2, 0.7]))
    assert found.model.tolist() == known(decision_curve(score_histogram(y, s, EDGES), EDGES, [0.2, 0.7])).model.tolist()


@pytest.mark.parametrize(
    ("negatives", "positives", "reason"), [([0, 0], [0, 0], "no-patients"), ([1, 2], [0, 0], "one-class")]
)
def test_missing_patients_give_a_reason(negatives: list[int], positives: list[int], reason: str) -> None:
    assert decision_curve(ClassHistogram(np.array(negatives), np.array(positives)), [0.0], [0.5]).reason == reason


def test_no_edge_gives_a_reason() -> None:
    assert decision_curve(ClassHistogram(np.array([3]), np.array([4])), [], [0.5]).reason == "no-edges"


@pytest.mark.parametrize("bad", [[], [0.0], [1.0], [0.2, math.nan], [-0.1], [[0.2]]])
def test_impossible_thresholds_are_refused(bad: list[float]) -> None:
    assert code(lambda: threshold_logits(bad)) == "bad-decision-thresholds"
    counts = ClassHistogram(np.array([3, 1]), np.array([4, 1]))
    assert code(lambda: decision_curve(counts, [0.0], bad)) == "bad-decision-thresholds"


def test_edges_of_another_histogram_are_refused() -> None:
    counts = ClassHistogram(np.array([3, 1]), np.array([4, 1]))
    assert code(lambda: decision_curve(counts, [0.0, 1.0], [0.5])) == "bad-histogram"


def test_threshold_logits_are_logits() -> None:
    assert threshold_logits([0.5, 0.2]) == pytest.approx([0.0, math.log(0.25)], abs=1e-15)
