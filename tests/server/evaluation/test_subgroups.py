"""Pooled subgroups: which levels are shown of how many sites, and gaps between levels."""

import json

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from fedescc.common.analysis import MISSING
from fedescc.common.statistics.metrics import EvaluationSums, evaluation_sums, metrics_record
from fedescc.common.statistics.roc import Estimate, probability, score_histogram
from fedescc.common.subgroups import hidden_levels
from fedescc.common.sums import add_up
from fedescc.server.evaluation.publication import published
from fedescc.server.evaluation.replies import LevelShare
from fedescc.server.evaluation.subgroups import HIDDEN, show_levels
from fedescc.server.evaluation.told import SEVERAL_MODELS, Told, add_documents

LEVELS = ("low", "high", MISSING)
EDGES = [-1.0, 0.0, 1.0]
NOBODY = LevelShare(EvaluationSums(0, 0, 0, 0, 0, 0, 0.0, 0.0), score_histogram([], [], EDGES))


def share(n_pos, n_neg, seed=0):
    rng = np.random.default_rng(seed)
    y = np.r_[np.ones(n_pos), np.zeros(n_neg)].astype(np.int8)
    logit = rng.normal(y)
    return LevelShare(evaluation_sums(y, probability(logit), 0.0, score=logit), score_histogram(y, logit, EDGES))


def metrics(sums):
    nothing = Estimate(None, "x")
    return metrics_record(
        sums, threshold=0.5, auc=nothing, auc_ci95=nothing, calibration_intercept=nothing, calibration_slope=nothing
    )


def pool(sites, more=None, minimum=5):
    """Levels of sites that were tested on just these patients, and on ``more`` of whom they told nothing by level."""
    more = more or {}
    own = {
        site: add_up([*(one.sums for one in levels if one is not None), *more.get(site, ())])
        for site, levels in sites.items()
    }
    told = Told({"g": LEVELS}, {"g": sites}, own, minimum, 0.0)
    return show_levels(told, {site: metrics(sums) for site, sums in own.items()})["g"]


def sums(tp, fp, tn, fn):
    return EvaluationSums(tp + fp + tn + fn, tp + fn, tp, fp, tn, fn, 0.25 * (tp + fp + tn + fn), 0.0)


def of_cells(*cells):
    return LevelShare(sums(*cells), None)


BIG = of_cells(9, 8, 9, 8)


def test_levels_are_summed_over_the_sites_that_show_them():
    sites = {name: [share(8, 9, i), share(7, 6, 9 + i), NOBODY] for i, name in enumerate("abc")}
    found = pool(sites)
    assert (found["low"]["n"], found["low"]["n_pos"], found["low"]["sites"]) == (51, 24, 3)
    assert found["high"]["n"] == 39
    assert found["low"]["auc"] is not None
    assert found["low"]["ci95"]["sensitivity"][0] < found["low"]["sensitivity"]
    assert found["low"]["suppressed"]["calibration_slope"] == "not-by-subgroup"


def test_a_level_that_nobody_has_says_so_and_one_that_a_site_hides_too():
    sites = {name: [share(8, 9, i), share(7, 6, 9 + i), NOBODY] for i, name in enumerate("abc")}
    assert pool(sites)[MISSING]["suppressed"]["n"] == "no-patients"
    sites["d"] = [share(8, 9), share(7, 6), None]
    assert pool(sites)[MISSING]["suppressed"]["n"] == HIDDEN


def test_a_kept_histogram_hides_the_levels_auc_alone():
    kept = LevelShare(share(8, 9).sums, None)
    sites = {"a": [kept, BIG, NOBODY], "b": [BIG, BIG, NOBODY], "c": [BIG, BIG, NOBODY]}
    found = pool(sites)["low"]
    assert (found["auc"], found["suppressed"]["auc"]) == (None, "histogram-not-released")
    assert found["sensitivity"] is not None


def test_fewer_than_three_sites_are_shown_where_each_could_show_it_alone():
    found = pool({"a": [BIG, BIG, NOBODY], "b": [BIG, BIG, NOBODY]})
    assert (found["low"]["n"], found["low"]["sites"]) == (68, 2)
    small_cell = {"a": [of_cells(9, 1, 9, 9), of_cells(9, 9, 9, 9), NOBODY], "b": [BIG, BIG, NOBODY]}
    found = pool(small_cell)
    assert found["low"]["n"] is found["high"]["n"] is None
    assert found["low"]["suppressed"]["n"] == HIDDEN
    three = small_cell | {"c": [BIG, BIG, NOBODY]}
    assert pool(three)["low"]["sites"] == 3


def test_a_lax_sites_small_level_is_not_shown_for_a_study_that_forbids_it():
    sites = {"a": [of_cells(4, 9, 9, 0), BIG, NOBODY], "b": [BIG, BIG, NOBODY]}
    assert pool(sites)["low"]["n"] is None
    assert pool(sites, minimum=1)["low"]["n"] == 22 + 34


def test_a_hidden_level_takes_its_neighbour_along_unless_three_sites_are_left_over():
    """Else the whole less the shown level would tell it; of three sites it tells nobody's."""
    sites = {"a": [of_cells(9, 9, 9, 2), BIG, NOBODY], "b": [None, BIG, NOBODY]}
    found = pool(sites, more={"b": [sums(9, 9, 9, 9)]})
    assert found["low"]["n"] is found["high"]["n"] is None
    three = pool(sites | {"c": [None, BIG, NOBODY]}, more={"b": [sums(9, 9, 9, 9)], "c": [sums(9, 9, 9, 9)]})
    assert (three["low"]["n"], three["high"]["n"]) == (None, 102)


def test_all_patients_less_the_levels_shown_do_not_give_a_hidden_sites_cells_away():
    """Three sites show both levels; the fourth none, and its own figures are hidden: one level must go."""
    sites = {name: [BIG, BIG, NOBODY] for name in "abc"} | {"d": [None, None, NOBODY]}
    found = pool(sites, more={"d": [sums(20, 1, 20, 20)]})
    assert {found["low"]["n"], found["high"]["n"]} == {None, 102}
    open_site = pool(sites, more={"d": [sums(20, 20, 20, 20)]})
    assert (open_site["low"]["n"], open_site["high"]["n"]) == (102, 102)


def test_a_site_hidden_to_protect_another_is_not_given_away_either():
    """No cell of it is small, but less it, all others would give the one away that is."""
    sites = {name: [BIG, BIG, NOBODY] for name in "abc"} | {"d": [None, None, NOBODY], "e": [BIG, BIG, NOBODY]}
    protected = pool(sites, more={"d": [sums(6, 6, 6, 6)], "e": [sums(100, 0, 100, 0)], "a": [sums(9, 9, 9, 9)]})
    assert (protected["low"]["n"], protected["high"]["n"]) == (136, 136)
    sites["e"] = [of_cells(20, 1, 20, 20), of_cells(20, 0, 20, 20), NOBODY]
    alone = pool(sites, more={"d": [sums(6, 6, 6, 6)]})
    assert (alone["low"]["n"], alone["high"]["n"]) == (163, None)


@given(
    st.lists(st.lists(st.tuples(*[st.integers(0, 9)] * 4), min_size=2, max_size=3), min_size=1, max_size=5),
    st.integers(2, 6),
    st.data(),
)
@settings(max_examples=200, deadline=None)
def test_no_difference_of_shown_figures_tells_small_cells_of_fewer_than_three_sites(table, minimum, data):
    """An outsider has the total, the levels and the open sites: what is left of the total is nobody's in particular."""
    count = len(table[0])
    names = [f"s{i}" for i in range(len(table))]
    own, sites = {}, {}
    for name, row in zip(names, table, strict=True):
        cells = [*row, *[(0, 0, 0, 0)] * (count - len(row))][:count]
        own[name] = add_up(sums(*one) for one in cells)
        gone = hidden_levels([tp + fn for tp, _, _, fn in cells], [fp + tn for _, fp, tn, _ in cells], minimum)
        sites[name] = [None if hide else of_cells(*one) for hide, one in zip(gone, cells, strict=True)]
    levels = tuple(map(str, range(count)))
    told = Told({"g": levels}, {"g": sites}, own, minimum, 0.0)
    records = {name: metrics(one) for name, one in own.items()}
    found = show_levels(told, records)["g"]
    open_sites = published({"pooled": {}, "sites": records}, minimum)["sites"]
    left = {name: np.array([one.tp, one.fp, one.tn, one.fn]) for name, one in own.items()}
    for place, level in enumerate(levels):
        if found[level]["n"] is not None:
            for name, one in sites.items():
                if one[place] is not None:
                    left[name] = left[name] - [getattr(one[place].sums, key) for key in ("tp", "fp", "tn", "fn")]
    if all(found[level]["n"] is None for level in levels):
        return
    touched = [name for name, cells in left.items() if cells.any()]
    for name in touched if len(touched) < 3 else ():
        assert not ((left[name] > 0) & (left[name] < minimum)).any()
        assert open_sites[name]["accuracy"] is not None


def test_of_several_folds_a_level_is_summed_and_has_neither_threshold_nor_curve():
    fold = Told(
        {"g": LEVELS}, {"g": {n: [BIG, BIG, NOBODY] for n in "abc"}}, {n: sums(18, 16, 18, 16) for n in "abc"}, 5, 0.3
    )
    total = add_documents([json.loads(json.dumps(fold.document()))] * 2)
    assert total.tested["a"] == sums(36, 32, 36, 32)
    found = show_levels(total, {name: metrics(one) for name, one in total.tested.items()})["g"]["low"]
    assert (found["n"], found["sites"], found["threshold"], found["auc"]) == (204, 3, None, None)
    assert found["suppressed"]["threshold"] == "differs-by-fold"
    assert found["suppressed"]["auc"] == SEVERAL_MODELS


def test_a_site_that_hides_a_level_in_one_fold_hides_it_in_all():
    one = Told({"g": LEVELS}, {"g": {"a": [BIG, BIG, NOBODY]}}, {"a": sums(18, 16, 18, 16)}, 5, 0.3)
    two = Told({"g": LEVELS}, {"g": {"a": [None, BIG, None]}}, {"a": sums(18, 16, 18, 16)}, 5, 0.3)
    silent = Told({"g": LEVELS}, {"g": {}}, {"a": sums(18, 16, 18, 16)}, 5, 0.3)
    shares = add_documents([one.document(), two.document()]).shares["g"]["a"]
    assert [share and share.sums.n for share in shares] == [None, 68, None]
    assert add_documents([one.document(), silent.document()]).shares["g"] == {}
