"""Answers about opened test patients that contradict the test, or themselves, are refused."""

import numpy as np
import pytest

from fedescc.client.answers.subgroups import level_sums
from fedescc.client.learning.evaluate import split_sums
from fedescc.client.site import ReleasePolicy
from fedescc.common.errors import Refusal
from fedescc.common.statistics.roc import Estimate
from fedescc.common.subgroups import coarse_edges
from fedescc.common.wire import Reply
from fedescc.server.evaluation.replies import level_shares, own_differences, placement_share
from fedescc.server.replies import split_share

POLICY = ReleasePolicy(min_class_count=3, score_histogram="plain")
EDGES = np.linspace(-2, 2, 31).tolist()
BINS = len(coarse_edges(EDGES)) + 1
SIZES = [3, 3]
RNG = np.random.default_rng(1)
Y = (np.arange(80) % 2).astype(np.int8)
LOGIT = RNG.normal(Y)
CODES = {"sex": (RNG.integers(0, 2, 80), 3), "age": (RNG.integers(0, 2, 80), 3)}


def own_test():
    return split_share(*split_sums(Y, LOGIT, edges=EDGES, threshold=0.0, policy=POLICY), len(EDGES) + 1)


def honest():
    return level_sums(CODES, Y, LOGIT, coarse_edges(EDGES), 0.0, POLICY)[0]


def read(**changes):
    sums = {key: value for key, value in (honest() | changes).items() if value is not None}
    return level_shares(Reply("site-a", "study", sums), SIZES, BINS, own_test())


def moved(key, place, by):
    values = list(honest()[key])
    values[place] += by
    return values


def test_an_honest_reply_has_a_share_of_every_level():
    sex, age = read()
    assert [share.sums.n for share in sex][2] == 0
    assert sum(share.sums.n for share in sex) == sum(share.sums.n for share in age) == 80
    assert sex[0].histogram.positives.sum() == sex[0].sums.n_pos == (Y[CODES["sex"][0] == 0]).sum()


def test_a_site_that_keeps_all_has_none():
    assert level_shares(Reply("site-a", "study", {}, reasons={"shown": "few"}), SIZES, BINS, own_test()) is None


def test_a_hidden_level_has_no_share_and_the_others_need_not_make_up_the_whole():
    sums = {key: [0 if i == 0 else v for i, v in enumerate(honest()[key])] for key in ("n", "n_pos", "tp", "fp", "tn")}
    sums |= {key: [0 if i == 0 else v for i, v in enumerate(honest()[key])] for key in ("fn", "brier_sum", "shown")}
    histograms = {
        key: [0 if i < BINS else v for i, v in enumerate(honest()[key])] for key in ("negatives", "positives")
    }
    sex, _ = read(**sums, **histograms)
    assert sex[0] is None
    assert sex[1].sums.n > 0


def test_a_site_that_keeps_histograms_still_tells_counts():
    sex, _ = read(negatives=None)
    assert sex[0].histogram is None
    assert sex[0].sums.n > 0


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"shown": [1, 1]}, "malformed-message"),
        ({"n": None}, "malformed-message"),
        ({"tp": 7}, "malformed-message"),
        ({"brier_sum": [0.0]}, "malformed-message"),
        ({"negatives": [0] * 5}, "malformed-message"),
        ({"n": moved("n", 0, 1)}, "inconsistent-sums"),
        ({"n_pos": moved("n_pos", 0, -1)}, "inconsistent-sums"),
        ({"brier_sum": moved("brier_sum", 0, -80.0)}, "inconsistent-sums"),
        ({"brier_sum": moved("brier_sum", 0, 0.5)}, "patients-changed"),
        ({"brier_sum": moved("brier_sum", 0, -0.5)}, "patients-changed"),
        ({"n": moved("n", 0, 1), "tn": moved("tn", 0, 1)}, "malformed-message"),  # not in its histogram
        ({"n": moved("n", 0, 1), "tn": moved("tn", 0, 1), "negatives": None}, "patients-changed"),
        ({"tn": moved("tn", 0, 1), "fp": moved("fp", 0, -1)}, "patients-changed"),
        ({"negatives": list(reversed(honest()["negatives"]))}, "malformed-message"),
    ],
)
def test_contradictions_are_refused(changes, code):
    with pytest.raises(Refusal) as caught:
        read(**changes)
    assert caught.value.code == code


def test_a_level_whose_scores_were_not_tested_is_refused():
    """Counts fit, but its patients lie in bins in which nobody was."""
    negatives = np.reshape(honest()["negatives"], (-1, BINS))
    negatives[:3] = 0
    negatives[0, 0] = int(np.sum(np.reshape(honest()["negatives"], (-1, BINS))[0]))
    negatives[1, 0] = int(np.sum(np.reshape(honest()["negatives"], (-1, BINS))[1]))
    with pytest.raises(Refusal, match="patients-changed"):
        read(negatives=negatives.ravel().tolist())


def test_levels_of_a_site_that_told_nothing_of_the_test_are_refused():
    untested = split_share({}, {"n": "few"}, 3)
    with pytest.raises(Refusal, match="patients-changed"):
        level_shares(Reply("site-a", "study", honest()), SIZES, BINS, untested)


PLACEMENTS = {"n": 80, "n_pos": 40, "sums": [1, 2, 3, 4], "products": [1, 2, 3, 4, 5, 6]}


def test_placement_sums_take_shape():
    share = placement_share(Reply("a", "s", PLACEMENTS), 2, own_test())
    assert share.n.tolist() == [40, 40]
    assert share.sums.tolist() == [[1, 2], [3, 4]]
    assert share.products.tolist() == [[1, 2, 3], [4, 5, 6]]
    assert placement_share(Reply("a", "s", {}), 2, own_test()) is None


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"n": 81}, "patients-changed"),
        ({"n_pos": 39}, "patients-changed"),
        ({"n_pos": None}, "patients-changed"),
        ({"sums": [1, 2]}, "malformed-message"),
        ({"sums": None}, "malformed-message"),
        ({"sums": [1.0, 2.0, 3.0, 4.0]}, "malformed-message"),
        ({"products": [1, 2, 3]}, "malformed-message"),
        ({"sums": [1, 2, 3, -4]}, "bad-placement-sums"),
    ],
)
def test_placement_sums_that_no_tested_patients_have_are_refused(changes, code):
    sums = {key: value for key, value in (PLACEMENTS | changes).items() if value is not None}
    with pytest.raises(Refusal) as caught:
        placement_share(Reply("a", "s", sums), 2, own_test())
    assert caught.value.code == code


AREAS = [Estimate(0.7), Estimate(0.75), Estimate(None, "one-class")]


def test_a_sites_own_differences_become_tests():
    told = {"differences": [0.05, 0.1], "standard_errors": [0.02, 0.0]}
    first, second = own_differences(Reply("site-a", "study", told), AREAS)
    assert (first.value.difference, first.value.z) == (0.05, pytest.approx(2.5))
    assert first.value.p == pytest.approx(0.0124193, abs=1e-7)
    assert second.reason == "zero-variance"


@pytest.mark.parametrize(
    "told",
    [
        {"differences": [0.06, 0.1], "standard_errors": [0.02, 0.02]},  # .75 less .70 is .05
        {"differences": [0.05], "standard_errors": [0.02]},
        {"differences": [0.05, 0.1]},
        {},
    ],
)
def test_differences_that_are_not_those_of_the_test_are_refused(told):
    with pytest.raises(Refusal, match="malformed-message"):
        own_differences(Reply("site-a", "study", told), AREAS)
