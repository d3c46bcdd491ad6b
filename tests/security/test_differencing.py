"""A coordinator who breaks the protocol: what it can compute from everything a site tells never speaks of few."""

import dataclasses
import itertools
from contextlib import suppress

import numpy as np
import pytest
from attacked_site import COEFFICIENTS, ENCODING, MINIMUM, TOY, ask, cohort_of, fold, site_of
from hypothesis import given, settings
from hypothesis import strategies as st

from fedescc.client.answers.dispatch import answer
from fedescc.client.local_site import LocalSite
from fedescc.client.site import ReleasePolicy
from fedescc.common import wire
from fedescc.common.disclosure.budget import Budget
from fedescc.common.errors import Refusal
from fedescc.common.tabular.moments import STEPS
from fedescc.common.tabular.quantiles import runs_of
from fedescc.common.wire import Request


def few(counts) -> bool:
    """Whether any of the counts, or of their absolute differences, speaks of fewer than the minimum."""
    return any(0 < abs(int(count)) < MINIMUM for count in np.ravel(counts))


def statistics_of_folds(site: LocalSite, of: int) -> list[dict[str, object]]:
    return [ask(site, wire.STATISTICS, fold=fold(index, of)) for index in range(of)]


def at_most(site: LocalSite, of: int) -> list[dict[str, object]]:
    """Statistics of all folds, or none where the site takes no part in so many."""
    try:
        return statistics_of_folds(site, of)
    except Refusal as refusal:
        assert refusal.code == "fold-too-small"  # noqa: PT017 - the other way to keep everything
        return []


def trained_by(site: LocalSite, of: int) -> tuple[np.ndarray, np.ndarray]:
    """(folds, groups) which group trains in which fold, and (groups,) how many patients it has."""
    views = [site.view(Request(TOY.sha256, {"fold": fold(index, of)})) for index in range(of)]
    groups = views[0].group
    assert groups is not None
    known = np.unique(groups)
    trains = np.array([[(view.split[groups == group] == "train").all() for group in known] for view in views])
    return trains.astype(float), np.array([(groups == group).sum() for group in known])


def attack(trains: np.ndarray, told: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Every union of groups whose own numbers follow from sums over the folds' training groups, and these numbers.

    A fold that another contains is subtracted from it, pairs are put together with third ones, and so on: whatever a
    linear combination of the replies can tell.

    Returns:
        (unions, groups) of 0 and 1, and (unions, numbers).

    """
    unions = np.array(list(itertools.product([0.0, 1.0], repeat=trains.shape[1])))[1:]
    weights = unions @ np.linalg.pinv(trains)
    known = np.isclose(weights @ trains, unions, atol=1e-8).all(axis=1)
    return unions[known], weights[known] @ told


@given(st.integers(0, 2**20), st.integers(20, 160), st.integers(2, 6), st.sampled_from([0.02, 0.1, 0.5]))
@settings(deadline=None, max_examples=60)
def test_no_combination_of_folds_statistics_speaks_of_few(seed: int, patients: int, of: int, missing: float) -> None:
    site = site_of(cohort_of(seed, patients, missing))
    found = at_most(site, of)
    if not found:
        return
    trains, sizes = trained_by(site, of)
    for key in ("covariate_counts", "level_counts"):
        unions, counts = attack(trains, np.array([reply[key] for reply in found], float))
        assert not few(np.rint(counts))
        assert not few((unions @ sizes)[:, None] - np.rint(counts))
    levels = np.array([[sum(reply["level_counts"]), reply["n_train"]] for reply in found], float)
    unions, counts = attack(trains, levels)
    assert not few(np.rint(counts[:, 1] - counts[:, 0]))
    assert np.allclose(counts[:, 1], unions @ sizes)
    ends = set.intersection(*({end for _, end in runs_of(np.array(reply["quantile_counts"]))} for reply in found))
    below = np.array([[sum(reply["quantile_counts"][:end]) for end in sorted(ends)] for reply in found], float)
    assert not few(np.rint(np.diff(attack(trains, below)[1], prepend=0)))


def test_the_attack_reaches_single_groups() -> None:
    """Else the test above would pass with nothing governed by group."""
    site = site_of(cohort_of(0, 300))
    trains, sizes = trained_by(site, 5)
    raw = [site.view(Request(TOY.sha256, {"fold": fold(index, 5)})) for index in range(5)]
    sums = np.array([[view.numeric["age"][view.rows("train")].sum()] for view in raw])
    unions, found = attack(trains, sums)
    (single,) = np.flatnonzero((unions.sum(axis=1) == 1) & (unions[:, 2] == 1))
    assert found[single, 0] == pytest.approx(site.cohort.numeric["age"][raw[0].group == 2].sum())
    assert len(sizes) == 5


def test_a_group_with_one_value_gives_no_fold_away() -> None:
    """Without governance by group the fold with it, less the one without, is this patient's marker."""
    site = site_of(cohort_of(1, 200, missing=0.0))
    trains, _ = trained_by(site, 5)
    groups = site.view(Request(TOY.sha256, {"fold": fold(0, 5)})).group
    marker = site.cohort.numeric["marker"].copy()
    inside = np.flatnonzero(groups == 2)
    marker[inside[1:]] = np.nan
    site.cohort = dataclasses.replace(site.cohort, numeric={**site.cohort.numeric, "marker": marker})
    found = statistics_of_folds(site, 5)
    secret = round(marker[inside[0]] / 1000 * STEPS)
    totals = np.array([[reply["covariate_totals"][1]] for reply in found], float)
    unions, solved = attack(trains, totals)
    assert (unions.sum(axis=1) == 1).sum() == 5
    assert (np.abs(solved - secret) > 1).all()
    differences = {abs(int(a[0] - b[0])) for a, b in itertools.combinations(totals, 2)}
    assert secret not in differences


def test_statistics_screening_and_regression_leave_out_the_same_patients() -> None:
    """Two kinds of message over different patients could be subtracted to those whom one leaves out."""
    site = site_of(cohort_of(3, 240, missing=0.04))
    told = ask(site, wire.STATISTICS)
    screened = ask(site, wire.SCREENING, features=["age", "marker"])
    coefficients = [0.0] * COEFFICIENTS
    terms = ask(site, wire.LOGISTIC, encoding=ENCODING, coefficients=coefficients)
    by_class = np.array(screened["counts"]).reshape(2, 2)
    assert by_class.sum(axis=0).tolist() == told["covariate_counts"]
    assert np.array(screened["totals"]).reshape(2, 2).sum(axis=0).tolist() == told["covariate_totals"]
    missing = 4 * terms["hessian"][4] / 2**28  # of the intercept and the marker's missing flag
    assert told["n_train"] - told["covariate_counts"][1] == missing >= MINIMUM
    assert not few(told["n_train"] - by_class.sum(axis=0))


@given(st.integers(0, 2**20), st.integers(60, 240), st.sampled_from([0.02, 0.1, 0.3]))
@settings(deadline=None, max_examples=40)
def test_no_count_that_kinds_of_message_tell_of_one_split_differs_by_few(
    seed: int, patients: int, missing: float
) -> None:
    site = site_of(cohort_of(seed, patients, missing))
    told = ask(site, wire.STATISTICS)
    counts = [0, told["n_train"], *told["covariate_counts"]]
    try:
        screened = ask(site, wire.SCREENING, features=["age", "marker"])
    except Refusal as refusal:
        assert refusal.code == "class-count-below-minimum"  # noqa: PT017 - the other way to keep everything
        by_class = np.zeros((2, 2), int)
    else:
        by_class = np.array(screened["counts"]).reshape(2, 2)
        if by_class[0, 1]:
            counts += [by_class[:, 1].sum()]
    assert not few([a - b for a, b in itertools.combinations(counts, 2)])
    assert not few(by_class)


def test_a_regression_is_refused_where_two_folds_would_tell_few_of_a_class() -> None:
    site = site_of(cohort_of(5, 120, positive=0.2))
    groups = site.view(Request(TOY.sha256, {"fold": fold(0, 5)})).group
    positives = np.bincount(groups, weights=site.cohort.labels)
    assert few(positives)
    for message_type, task in (
        (wire.LOGISTIC, {"encoding": ENCODING, "coefficients": [0.0] * COEFFICIENTS}),
        (wire.SCREENING, {"features": ["age"]}),
    ):
        for index in range(5):
            rows = site.view(Request(TOY.sha256, {"fold": fold(index, 5)})).rows("train")
            held = {int(group) for group in groups[rows]}
            if few([positives[group] for group in held]):
                with pytest.raises(Refusal, match=r"\[fold-too-small\]"):
                    ask(site, message_type, fold=fold(index, 5), **task)


@given(st.integers(0, 2**20), st.integers(100, 200), st.integers(3, 5), st.sampled_from([0.15, 0.2, 0.3]))
@settings(deadline=None, max_examples=40)
def test_no_combination_of_all_kinds_of_sums_by_class_speaks_of_few_of_a_class(
    seed: int, patients: int, of: int, positive: float
) -> None:
    """Test, validation and regression of all folds together: which patients, and how many with the outcome."""
    site = site_of(cohort_of(seed, patients, 0.0, positive), small_newton="plain")
    if not at_most(site, of):
        return
    views = [site.view(Request(TOY.sha256, {"fold": fold(index, of)})) for index in range(of)]
    known, weights = np.unique(views[0].group), np.array([0.0, 0.1, 0.0], np.float32)
    linear = {"encoding": {**ENCODING, "covariates": ENCODING["covariates"][:1]}, "model": "linear"}
    rows, told = [], []
    for index, view in enumerate(views):
        task = {"run": "r1", "fold": fold(index, of), **linear}
        look = {"edges": [0.0], "threshold": 0.0}
        for message_type, more, sent, split in (
            (wire.TEST, {**look, "plan": TOY.analysis.sha256}, weights, "test"),
            (wire.VALIDATION, look, weights, "validation"),
            (wire.LOGISTIC, {"coefficients": [0.0] * 3}, None, "train"),
        ):
            with suppress(Refusal):
                sums = answer(site, message_type, Request(TOY.sha256, {**task, **more}, sent)).sums
                if "n_pos" in sums:
                    rows.append([float((view.split[view.group == group] == split).all()) for group in known])
                    told.append([sums["n_pos"], sums["n"] - sums["n_pos"]])
    if rows:
        _, counts = attack(np.array(rows), np.array(told, float))
        assert not few(np.rint(counts))


def test_terms_at_zero_of_two_folds_tell_no_small_flag() -> None:
    """Hessians at zero coefficients are a quarter of the counts, and differ by whole groups."""
    site = site_of(cohort_of(6, 400, missing=0.08, positive=0.5))
    asked = {"encoding": ENCODING, "coefficients": [0.0] * COEFFICIENTS}
    found = [ask(site, wire.LOGISTIC, fold=fold(index, 5), **asked) for index in range(5)]
    counts = np.array([[4 * h / 2**28 for h in reply["hessian"][:COEFFICIENTS]] for reply in found])
    trains, sizes = trained_by(site, 5)
    flags = np.column_stack([counts[:, [0, 2, 4, 5, 6, 7]], [reply["n_pos"] for reply in found]])
    unions, told = attack(trains, flags)
    assert len(unions) == 31
    assert not few(np.rint(told))
    assert not few(np.rint((unions @ sizes)[:, None] - told))


@pytest.mark.parametrize(("small_newton", "answers"), [("never", False), ("plain", True)])
def test_products_of_as_many_columns_as_two_folds_differ_by_are_refused(small_newton: str, answers: bool) -> None:
    """Subtracted, they would be one group's cross-products, which can be solved for each of its patients."""
    study = TOY.model_copy(update={"disclosure": TOY.disclosure.model_copy(update={"min_class_count": 2})})
    site = LocalSite("site-a", study, ReleasePolicy(min_class_count=2, small_newton=small_newton), cohort_of(7, 70))
    task = {"run": "r1", "fold": fold(0, 4), "encoding": ENCODING, "coefficients": [0.0] * COEFFICIENTS}
    request = Request(study.sha256, task)
    view = site.view(request)
    labels = np.zeros(70, np.int8)
    for group in np.unique(view.group):
        labels[np.flatnonzero(view.group == group)[::2]] = 1
    site.cohort = dataclasses.replace(site.cohort, labels=labels)
    assert len(view.rows("train")) > COEFFICIENTS > np.bincount(view.group).min() >= 4
    if answers:
        assert answer(site, wire.LOGISTIC, request).sums["n"] == len(view.rows("train"))
    else:
        with pytest.raises(Refusal, match=r"\[more-columns-than-patients\]"):
            answer(site, wire.LOGISTIC, request)


def test_one_outlier_does_not_stand_in_a_sum_that_it_dominates() -> None:
    """Everybody else at the low end: the total is the outlier's value."""
    cohort = cohort_of(9, 120, missing=0.0)
    rows = cohort.rows("train")
    marker = np.zeros(120)
    marker[rows[7]] = 812.5
    site = site_of(dataclasses.replace(cohort, numeric={**cohort.numeric, "marker": marker}))
    told = ask(site, wire.STATISTICS)
    assert told["covariate_totals"][1] == told["covariate_squares"][1] == 0
    assert told["covariate_counts"][1] == np.count_nonzero(cohort.labels[rows] != cohort.labels[rows[7]])
    screened = ask(site, wire.SCREENING, features=["marker"])
    secret = round(812.5 / 1000 * STEPS)
    assert secret not in screened["totals"]
    lifted = site_of(site.cohort, dominance_percent=0)
    assert ask(lifted, wire.STATISTICS)["covariate_totals"][1] == secret


@pytest.mark.parametrize(
    ("parts", "tested"),
    [
        ({"train": (20, 40), "validation": (6, 9), "test": (12, 13)}, True),
        ({"train": (20, 40), "validation": (6, 9), "test": (2, 23)}, False),  # 28 less 20 less 6 would tell the two
        ({"train": (20, 40), "validation": (3, 12), "test": (2, 23)}, True),  # five of both together
        ({"train": (20, 40), "validation": (3, 12), "test": (1, 24)}, False),
        ({"train": (20, 40), "validation": (1, 1), "test": (12, 13)}, False),  # validation: two, by numbers alone
    ],
)
def test_a_site_held_out_tells_no_small_part_of_its_fixed_split(parts, tested) -> None:
    """Tested whole in its own fold, it tells its training and validation patients in the others'."""
    split = np.repeat(list(parts), [sum(part) for part in parts.values()])
    labels = np.concatenate([np.repeat([1, 0], part) for part in parts.values()]).astype(np.int8)
    cohort = dataclasses.replace(cohort_of(14, len(split), missing=0.0), split=split, labels=labels)
    site, others = site_of(cohort), {"mode": "loso", "held_out": "site-b"}
    ask(site, wire.STATISTICS, fold=others)
    encoding = {**ENCODING, "covariates": ENCODING["covariates"][:1]}
    task = {"run": "r1", "encoding": encoding, "model": "linear", "edges": [0.0], "threshold": 0.0}
    task |= {"plan": TOY.analysis.sha256, "fold": {"mode": "loso", "held_out": "site-a"}}
    found = answer(site, wire.TEST, Request(TOY.sha256, task, np.array([0.0, 1.0, 0.0], np.float32)))
    assert ("n_pos" in found.sums) is tested
    if not tested:
        assert found.reasons["n"] == "class-count-below-minimum"


def test_two_runs_cannot_divide_the_patients_differently() -> None:
    site = site_of(cohort_of(10, 200))
    ask(site, wire.STATISTICS, fold=fold(0, 3))
    for other in (fold(0, 4), None):
        with pytest.raises(Refusal, match=r"\[another-division\]"):
            ask(site, wire.STATISTICS, run="r2", fold=other)


def test_asking_thousands_of_thresholds_for_the_scores_behind_them_ends_with_the_budget() -> None:
    """Confusion counts at ever other thresholds draw the histogram that the policy keeps."""
    site = site_of(cohort_of(11, 160, missing=0.0), query_budget={wire.VALIDATION: Budget(40, 60)})
    weights, answered = np.array([0.0, 1.0, 0.0], np.float32), 0
    encoding = {**ENCODING, "covariates": ENCODING["covariates"][:1]}
    for number, run in itertools.product(range(45), ("r1", "r2")):
        task = {"run": run, "encoding": encoding, "model": "linear", "edges": [0.0], "threshold": number / 10}
        try:
            answer(site, wire.VALIDATION, Request(TOY.sha256, task, weights))
        except Refusal as refusal:
            assert refusal.code == "query-budget-spent"  # noqa: PT017 - what ends the attack
        else:
            answered += 1
    assert answered == 60


@pytest.mark.parametrize("part", ["train", "validation", "test"])
def test_a_small_part_of_the_cohort_cannot_be_subtracted(part: str) -> None:
    cohort = cohort_of(12, 90)
    split = np.where(np.arange(90) < 40, "train", "validation").astype("<U10")
    split[40:60] = "test"
    small = np.where(split == part)[0]
    split[small[3:]] = "train" if part != "train" else "test"
    site = site_of(dataclasses.replace(cohort, split=split))
    reply = answer(site, wire.STATISTICS, Request(TOY.sha256, {"run": "r1"}))
    assert "flow_included" not in reply.sums
    assert reply.reasons["flow_included"] == "class-count-below-minimum"
    assert reply.sums["flow_excluded"] == 0
    whole = site_of(cohort)
    assert ask(whole, wire.STATISTICS)["flow_included"] == 90


def test_a_minimum_of_one_tells_everything() -> None:
    """Synthetic patients have nothing to hide."""
    study = TOY.model_copy(update={"disclosure": TOY.disclosure.model_copy(update={"min_class_count": 1})})
    cohort = cohort_of(13, 60)
    marker = np.where(np.arange(60) == cohort.rows("train")[0], 900.0, 0.0)
    marker[cohort.rows("train")[1]] = np.nan
    cohort = dataclasses.replace(cohort, numeric={**cohort.numeric, "marker": marker})
    site = LocalSite("site-a", study, ReleasePolicy(min_class_count=1), cohort)
    told = answer(site, wire.STATISTICS, Request(study.sha256)).sums
    rows = cohort.rows("train")
    assert told["covariate_counts"] == [20, 19]
    assert told["covariate_totals"][1] == round(0.9 * STEPS)
    assert sum(told["level_counts"]) == (cohort.categorical["sex"][rows] >= 0).sum()
    assert sum(told["quantile_counts"]) == 19
