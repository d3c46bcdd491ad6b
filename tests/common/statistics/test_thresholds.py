"""Threshold rules against a search over every edge written out, pROC's published threshold, and ties set by hand."""

import math
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scored_patients import Floats, Labels, code, known, tied_scores

from fedescc.common.statistics.roc import ClassHistogram, score_histogram
from fedescc.common.statistics.thresholds import cost_edge, sensitivity_edge, specificity_edge, youden_edge

EDGES = np.arange(-3, 5).astype(np.float64)
RULES = {
    "youden": youden_edge,
    "sensitivity": lambda h, e: sensitivity_edge(h, e, 0.9),
    "specificity": lambda h, e: specificity_edge(h, e, 0.9),
    "cost": lambda h, e: cost_edge(h, e, false_negative=5, false_positive=1),
}


def rates(y: Labels, s: Floats) -> dict[float, tuple[Fraction, Fraction]]:
    """Edge -> exact sensitivity and specificity, from the patients themselves."""
    return {
        float(e): (
            Fraction(int((s[y] >= e).sum()), int(y.sum())),
            Fraction(int((s[~y] < e).sum()), int((~y).sum())),
        )
        for e in EDGES
    }


@pytest.mark.real_data
def test_asah_youden_threshold_is_that_of_proc(asah: dict[str, Floats]) -> None:
    """coords(s100b, "best") gives .205, with edges half-way between the values seen."""
    seen = np.unique(asah["s100b"])
    edges = (seen[1:] + seen[:-1]) / 2
    assert known(youden_edge(score_histogram(asah["poor"], asah["s100b"], edges), edges)) == pytest.approx(0.205)


@given(tied_scores())
def test_youden_edge_beats_every_other_and_wins_ties_from_above(sample: tuple[Labels, Floats]) -> None:
    y, s = sample
    sums = {edge: sens + spec for edge, (sens, spec) in rates(y, s).items()}
    best = max(edge for edge, total in sums.items() if total == max(sums.values()))
    assert known(youden_edge(score_histogram(y, s, EDGES), EDGES)) == best


@given(tied_scores(), st.sampled_from([0.05, 0.3, 0.5, 0.75, 0.9, 0.95, 1.0]))
def test_sensitivity_edge_is_the_highest_that_reaches_it(sample: tuple[Labels, Floats], wanted: float) -> None:
    y, s = sample
    found = sensitivity_edge(score_histogram(y, s, EDGES), EDGES, wanted)
    enough = [edge for edge, (sens, _) in rates(y, s).items() if sens >= Fraction(str(wanted))]
    assert (found.value, found.reason) == ((max(enough), None) if enough else (None, "not-reached"))


@given(tied_scores(), st.sampled_from([0.05, 0.3, 0.5, 0.75, 0.9, 0.95, 1.0]))
def test_specificity_edge_is_the_most_sensitive_that_reaches_it(sample: tuple[Labels, Floats], wanted: float) -> None:
    y, s = sample
    found = specificity_edge(score_histogram(y, s, EDGES), EDGES, wanted)
    reached = {e: sens for e, (sens, spec) in rates(y, s).items() if spec >= Fraction(str(wanted))}
    best = max((e for e, sens in reached.items() if sens == max(reached.values())), default=None)
    assert (found.value, found.reason) == (best, None if reached else "not-reached")


@given(
    tied_scores(),
    st.integers(1, 20),
    st.integers(1, 20),
    st.none() | st.integers(1, 99).map(lambda percent: percent / 100),
)
def test_cost_edge_is_the_cheapest(sample: tuple[Labels, Floats], miss: int, alarm: int, share: float | None) -> None:
    y, s = sample
    prevalence = Fraction(int(y.sum()), y.size) if share is None else Fraction(str(share))
    costs = {
        edge: miss * prevalence * (1 - sens) + alarm * (1 - prevalence) * (1 - spec)
        for edge, (sens, spec) in rates(y, s).items()
    }
    cheapest = max(edge for edge, cost in costs.items() if cost == min(costs.values()))
    histogram = score_histogram(y, s, EDGES)
    found = cost_edge(histogram, EDGES, false_negative=miss, false_positive=alarm, prevalence=share)
    assert known(found) == cheapest


@given(tied_scores(), st.sampled_from([0.1, 0.3, 7.0, 1e-3]))
def test_only_the_ratio_of_costs_counts(sample: tuple[Labels, Floats], unit: float) -> None:
    histogram = score_histogram(*sample, EDGES)
    plain = cost_edge(histogram, EDGES, false_negative=3, false_positive=1)
    scaled = cost_edge(histogram, EDGES, false_negative=float(Fraction(str(unit)) * 3), false_positive=unit)
    assert plain == scaled


@given(tied_scores())
def test_a_dearer_miss_never_raises_the_threshold(sample: tuple[Labels, Floats]) -> None:
    histogram = score_histogram(*sample, EDGES)
    chosen = [known(cost_edge(histogram, EDGES, false_negative=c, false_positive=1)) for c in (0.2, 1, 5, 25)]
    assert chosen == sorted(chosen, reverse=True)


@given(tied_scores())
def test_a_higher_wanted_sensitivity_never_raises_the_threshold(sample: tuple[Labels, Floats]) -> None:
    histogram = score_histogram(*sample, EDGES)
    found = [sensitivity_edge(histogram, EDGES, wanted).value for wanted in (0.2, 0.5, 0.8, 1.0)]
    reached = [edge for edge in found if edge is not None]
    assert reached == sorted(reached, reverse=True)
    assert found[: len(reached)] == reached


def test_nine_of_ten_are_ninety_percent() -> None:
    """In floats 0.9 · 10 positives can be taken for a little more than 9, and so can 0.7 · 10 for 7."""
    histogram = ClassHistogram(np.array([10, 0, 0, 0]), np.array([1, 2, 0, 7]))
    assert known(sensitivity_edge(histogram, [0.0, 1.0, 2.0], 0.9)) == 0.0
    assert known(sensitivity_edge(histogram, [0.0, 1.0, 2.0], 0.7)) == 2.0
    mirrored = ClassHistogram(np.array([7, 0, 2, 1]), np.array([0, 0, 0, 10]))
    assert known(specificity_edge(mirrored, [0.0, 1.0, 2.0], 0.9)) == 2.0
    assert known(specificity_edge(mirrored, [0.0, 1.0, 2.0], 0.7)) == 2.0


def test_ties_go_to_the_highest_edge() -> None:
    """Nobody lies between the edges 0, 1 and 2, so that all three call the same patients positive."""
    histogram = ClassHistogram(np.array([9, 0, 0, 1]), np.array([1, 0, 0, 9]))
    assert {name: known(rule(histogram, [0.0, 1.0, 2.0])) for name, rule in RULES.items()} == dict.fromkeys(RULES, 2.0)


@pytest.mark.parametrize("rule", RULES.values(), ids=RULES)
@pytest.mark.parametrize(
    ("negatives", "positives", "reason"),
    [([0, 0], [0, 0], "no-patients"), ([1, 2], [0, 0], "one-class"), ([0, 0], [1, 2], "one-class")],
)
def test_no_rule_works_without_both_classes(rule, negatives: list[int], positives: list[int], reason: str) -> None:
    assert rule(ClassHistogram(np.array(negatives), np.array(positives)), [0.0]).reason == reason


@pytest.mark.parametrize("rule", RULES.values(), ids=RULES)
def test_no_rule_works_without_an_edge(rule) -> None:
    assert rule(ClassHistogram(np.array([3]), np.array([4])), []).reason == "no-edges"


@pytest.mark.parametrize("rule", RULES.values(), ids=RULES)
def test_edges_of_another_histogram_are_refused(rule) -> None:
    histogram = ClassHistogram(np.array([3, 1]), np.array([4, 1]))
    assert code(lambda: rule(histogram, [0.0, 1.0])) == "bad-histogram"
    assert code(lambda: rule(histogram, [math.nan])) == "bad-edges"


@pytest.mark.parametrize("bad", [0.0, -0.1, 1.1, math.nan, math.inf])
def test_impossible_rules_are_refused(bad: float) -> None:
    histogram = ClassHistogram(np.array([3, 1]), np.array([4, 1]))
    assert code(lambda: sensitivity_edge(histogram, [0.0], bad)) == "bad-rule"
    assert code(lambda: specificity_edge(histogram, [0.0], bad)) == "bad-rule"
    costs = {"false_negative": 1.0, "false_positive": 1.0}
    assert code(lambda: cost_edge(histogram, [0.0], **costs, prevalence=bad)) == "bad-rule"
    if bad != 1.1:
        for name in costs:
            assert code(lambda name=name: cost_edge(histogram, [0.0], **{**costs, name: bad})) == "bad-rule"
    assert code(lambda: cost_edge(histogram, [0.0], **costs, prevalence=1.0)) == "bad-rule"
