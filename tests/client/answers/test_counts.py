"""What a site tells for the plan: exact where it may, nothing small, nothing that a total or another message tells."""

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from toy_federation import STUDY, make_cohort

from fedescc.client.answers.counts import counts, governed_counts
from fedescc.client.answers.dispatch import answer
from fedescc.client.cohort import SiteCohort
from fedescc.client.egress import require_releasable
from fedescc.client.local_site import LocalSite
from fedescc.client.site import ReleasePolicy
from fedescc.common import wire
from fedescc.common.counts import HIDDEN, SPLITS, site_counts
from fedescc.common.errors import Refusal
from fedescc.common.fold import KFold, Loso
from fedescc.common.study import Study
from fedescc.common.wire import Reply, Request
from fedescc.common.yamlfile import parse_model

PLAN = "analysis: {subgroups: {sex: {variable: sex}, old: {variable: age, cuts: [55]}}}\ndisclosure:"
TOY = parse_model(STUDY.replace("disclosure:", PLAN), Study, "toy")


def site_of(cohort, minimum=3):
    return LocalSite("site-a", TOY, ReleasePolicy(min_class_count=minimum), cohort)


def ask(site, **task):
    return answer(site, wire.COUNTS, Request(TOY.sha256, {"run": "r1", **task}))


def cohort_of(cells, sex=0, age=40.0, marker=100.0):
    """A cohort of (split, positives, negatives); columns of one value, or of one a patient."""
    split = np.array([name for name, positives, negatives in cells for _ in range(positives + negatives)], "<U10")
    labels = [label for _, positives, negatives in cells for label in [1] * positives + [0] * negatives]
    n = len(labels)
    return SiteCohort(
        keys=tuple(f"{row:04d}" for row in range(n)),
        labels=np.array(labels, np.int8),
        numeric={"age": np.broadcast_to(age, n).astype(float), "marker": np.broadcast_to(marker, n).astype(float)},
        categorical={"sex": np.broadcast_to(sex, n).astype(np.int16)},
        split=split,
        images=None,
        rois=None,
        flow={"included": n},
    )


def test_large_counts_are_exact():
    cohort = make_cohort("site-a", 160)
    found = site_counts(TOY, ask(site_of(cohort)))
    assert (found.whole.patients, found.whole.positives) == (160, int(cohort.labels.sum()))
    for name in SPLITS:
        rows = cohort.split == name
        assert found.splits[name].classes == (int(cohort.labels[rows].sum()), int((cohort.labels[rows] == 0).sum()))
    training = cohort.split == "train"
    female = training & (cohort.categorical["sex"] == 0)
    assert found.levels["sex"]["female"].patients == int(female.sum())
    assert found.levels["sex"]["female"].positives == int(cohort.labels[female].sum())
    assert found.levels["old"][">=55"].patients == int((training & (cohort.numeric["age"] >= 55)).sum())
    assert found.missing["age"] == 0


def test_it_is_the_same_in_every_fold_and_opens_nothing():
    site = site_of(make_cohort("site-a", 160))
    first = ask(site)
    assert ask(site, fold=Loso(held_out="site-b").model_dump()) == first
    assert ask(site) == first
    assert not site.looks


def test_a_small_split_class_hides_itself_and_the_total_that_would_tell_it():
    found = site_counts(TOY, ask(site_of(cohort_of([("train", 20, 40), ("validation", 2, 13), ("test", 9, 16)]))))
    assert found.splits["train"].classes == (20, 40)
    assert found.splits["validation"].patients == 15
    assert found.splits["validation"].positives is None
    assert found.splits["test"].classes == (9, 16)
    assert found.whole.patients == 100
    assert found.whole.positives is None


def test_a_total_is_told_where_two_hidden_parts_keep_each_other():
    cells = [("train", 20, 40), ("validation", 3, 13), ("test", 4, 24)]
    reply = ask(site_of(cohort_of(cells), minimum=5))
    assert reply.sums["positives"] == 27
    assert reply.sums["split_positives"] == [20, HIDDEN, HIDDEN]


@pytest.mark.parametrize("hidden", [(1, 1), (4, 4)])
def test_no_total_is_told_that_only_one_pair_of_small_counts_can_have(hidden):
    cells = [("train", 20, 40), ("validation", hidden[0], 13), ("test", hidden[1], 24)]
    assert "positives" not in ask(site_of(cohort_of(cells), minimum=5)).sums


def test_a_small_split_hides_another_because_all_patients_are_told():
    found = site_counts(TOY, ask(site_of(cohort_of([("train", 20, 40), ("validation", 1, 1), ("test", 9, 16)]))))
    assert [found.splits[name].patients for name in SPLITS] == [60, None, None]


def test_no_total_is_told_beside_a_small_split_whatever_other_messages_count():
    """All, less the training and the test patients whom these messages count, would be the one who validates."""
    cells = [("train", 20, 40), ("validation", 1, 0), ("test", 9, 16)]
    site = site_of(cohort_of(cells))
    told = answer(site, wire.STATISTICS, Request(TOY.sha256, {"run": "r1"})).sums
    assert told["n_train"] == 60
    assert not {"included", "positives"} & set(ask(site).sums)
    whole = site_of(cohort_of([("train", 20, 40), ("test", 9, 16)]))
    assert ask(whole).sums["included"] == 85


def test_a_tiny_site_tells_nothing():
    reply = ask(site_of(cohort_of([("train", 1, 1)])))
    assert set(reply.sums) == {"split_patients", "split_positives", "level_patients", "level_positives", "missing"}
    found = site_counts(TOY, reply)
    assert found.whole.patients is None
    assert all(cell.positives is None for cell in found.levels["sex"].values() if cell.patients != 0)
    assert set(found.missing.values()) == {None}


def test_a_level_of_too_few_hides_and_takes_another_with_it():
    sex = np.zeros(100)
    sex[[0, 1, 30, 31]] = 1
    found = site_counts(TOY, ask(site_of(cohort_of([("train", 20, 40), ("test", 20, 20)], sex=sex))))
    assert [cell.patients for cell in found.levels["sex"].values()] == [None, None, 0]
    assert found.levels["old"]["<55"].classes == (20, 40)


def test_patients_without_a_value_are_a_level_that_a_difference_would_tell():
    sex = np.zeros(100)
    sex[[0, 30]] = -1
    found = site_counts(TOY, ask(site_of(cohort_of([("train", 20, 40), ("test", 20, 20)], sex=sex))))
    assert found.levels["sex"]["female"].patients is None
    assert found.missing["sex"] is None


def test_levels_do_not_add_up_to_an_outcome_that_the_splits_keep():
    cells = [("train", 20, 40), ("validation", 2, 13), ("test", 9, 16)]
    found = site_counts(TOY, ask(site_of(cohort_of(cells))))
    assert found.whole.positives is None
    assert found.levels["sex"]["female"].classes == (20, 40)
    found = site_counts(TOY, ask(site_of(cohort_of([("train", 2, 58), ("test", 20, 20)], sex=np.arange(100) % 2))))
    assert {cell.positives for cell in found.levels["sex"].values()} == {None}


def test_a_level_within_another_one_leaves_no_few():
    plan = PLAN.replace("}}}", "}, older: {variable: age, cuts: [56]}}}")
    study = parse_model(STUDY.replace("disclosure:", plan), Study, "toy")
    age = np.tile([40.0, 70.0], 50)
    age[0] = 55.5  # above one cut and below the other
    cohort = cohort_of([("train", 20, 40), ("test", 20, 20)], age=age)
    site = LocalSite("site-a", study, ReleasePolicy(min_class_count=3), cohort)
    found = site_counts(study, answer(site, wire.COUNTS, Request(study.sha256, {})))
    assert found.levels["old"]["<55"].patients is not None
    assert {cell.patients for cell in found.levels["older"].values()} == {None}


def test_missing_values_are_told_in_number_or_not_at_all():
    marker = np.full(100, 5.0)
    cells = [("train", 20, 40), ("test", 20, 20)]
    for gone, told in ((list(range(10)), 10), ([0, 1], None), (list(range(60, 70)), 10), ([0, 1, 2, 60], None)):
        column = marker.copy()
        column[gone] = np.nan
        assert site_counts(TOY, ask(site_of(cohort_of(cells, marker=column)))).missing["marker"] == told


def test_a_run_in_k_folds_gets_no_outcomes():
    site = site_of(make_cohort("site-a", 160))
    reply = ask(site, fold=KFold(index=0, of=5).model_dump())
    assert reply.sums["split_patients"] == [54, 54, 52]
    assert set(reply.sums["split_positives"]) == set(reply.sums["level_positives"]) == {HIDDEN}
    assert reply.reasons["positives"] == "another-division"
    assert site_counts(TOY, reply).whole.positives is None


def test_a_site_that_told_outcomes_takes_no_part_in_folds_that_could_be_subtracted():
    site = site_of(make_cohort("site-a", 160))
    ask(site)
    with pytest.raises(Refusal, match="another-division"):
        site.view(Request(TOY.sha256, {"fold": KFold(index=0, of=5).model_dump()}))
    other = site_of(make_cohort("site-a", 160))
    other.view(Request(TOY.sha256, {"fold": KFold(index=0, of=5).model_dump()}))
    assert "positives" not in counts(other, Request(TOY.sha256)).sums


CELL = st.tuples(st.sampled_from([0, 1, 2, 4, 5, 6, 9, 30]), st.sampled_from([0, 1, 3, 4, 5, 7, 40]))


@given(st.lists(CELL, min_size=3, max_size=3), st.integers(0, 2**31), st.sampled_from([1, 3, 5]))
def test_whatever_the_cohort_no_sum_or_difference_is_small(cells, seed, minimum):
    rng = np.random.default_rng(seed)
    n = sum(map(sum, cells))
    sex = rng.choice([0, 1, -1], n, p=[0.6, 0.35, 0.05])
    cohort = cohort_of([(name, *cell) for name, cell in zip(SPLITS, cells, strict=True)], sex, rng.uniform(40, 70, n))
    study = TOY.model_copy(update={"disclosure": TOY.disclosure.model_copy(update={"min_class_count": minimum})})
    sums, reasons = governed_counts(study, cohort, minimum)
    reply = Reply("site-a", study.sha256, sums, reasons=reasons)
    require_releasable(wire.COUNTS, reply, Request(study.sha256), minimum)
    found = site_counts(study, reply)
    for part, whole in partitions(found):
        shown = [cell for cell in part.values() if cell.patients is not None]
        if whole.patients is not None:
            rest = whole.patients - sum(cell.patients for cell in shown)
            assert rest == 0 or rest >= minimum
        known = [cell.positives for cell in part.values() if cell.positives is not None]
        if whole.positives is not None:
            rest = whole.positives - sum(known)
            assert rest == 0 or rest >= minimum or len(part) - len(known) > 1


def partitions(found):
    return itertools.chain(
        [(found.splits, found.whole)], ((cells, found.splits["train"]) for cells in found.levels.values())
    )


def test_nothing_in_the_reply_is_as_long_as_the_patients():
    assert all(
        len(value) < 20 for value in ask(site_of(make_cohort("site-a", 160))).sums.values() if isinstance(value, list)
    )
