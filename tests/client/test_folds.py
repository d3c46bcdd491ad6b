"""How a site divides its patients for each run mode, and what it refuses so that folds tell of nobody alone."""

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from toy_federation import make_cohort

from fedescc.client.answers.dispatch import answer
from fedescc.client.cohort import SiteCohort
from fedescc.client.folds import UNUSED, divide, division, require_part
from fedescc.client.local_site import LocalSite
from fedescc.client.site import ReleasePolicy
from fedescc.common import wire
from fedescc.common.errors import Refusal
from fedescc.common.fold import KFold, Loso, Temporal
from fedescc.common.study import Split
from fedescc.common.wire import Request

SPLIT = Split()
BEFORE_THE_TEST = [wire.STATISTICS, wire.COUNTS, wire.TRAIN, wire.PRETRAIN, wire.LOGISTIC, wire.SCREENING]
BEFORE_THE_TEST += [wire.TRAINING_SCORES, wire.VALIDATION, wire.COUNTS, wire.ACQUISITION, wire.REFERENCE, wire.SHORTCUT]
OF_THE_TEST = [wire.TEST, wire.RECALIBRATION, wire.EXPLANATION, wire.SUBGROUPS, wire.COMPARISON]


def cohort_of(keys, order=None) -> SiteCohort:
    n = len(keys)
    split = np.array(["train", "validation", "test"], dtype="<U10")[np.arange(n) % 3]
    return SiteCohort(tuple(keys), np.zeros(n, np.int8), {}, {}, split, None, None, {"included": n}, order)


def divided(cohort, fold, split=SPLIT, minimum=1, site="site-a"):
    return divide(cohort, fold, split, site=site, minimum=minimum)


def k_folds(cohort, k, split=SPLIT, minimum=1):
    return [divided(cohort, KFold(index=i, of=k), split, minimum) for i in range(k)]


def many(n=2000):
    return cohort_of([f"{number:064x}" for number in range(n)])


@given(n=st.integers(0, 60), k=st.integers(2, 20))
@settings(max_examples=40, deadline=None)
def test_every_patient_is_tested_in_exactly_one_fold(n, k):
    folds = k_folds(cohort_of([f"patient-{number}" for number in range(n)]), k)
    tested = np.sum([fold.split == "test" for fold in folds], axis=0)
    assert np.array_equal(tested, np.ones(n)) or n == 0
    assert {name for fold in folds for name in fold.split.tolist()} <= {"train", "validation", "test"}


@pytest.mark.parametrize("k", range(2, 21))
def test_the_validation_share_of_the_others_is_near_the_studys(k):
    wanted = SPLIT.validation / (SPLIT.train + SPLIT.validation)
    for fold in k_folds(many(), k):
        others = fold.split != "test"
        assert (fold.split == "validation").sum() / others.sum() == pytest.approx(wanted, abs=0.06 + 0.05)
        assert (fold.split == "train").sum() > 0


@pytest.mark.parametrize("k", [2, 5, 13])
def test_folds_are_about_equally_large(k):
    sizes = [len(fold.rows("test")) for fold in k_folds(many(), k)]
    expected = 2000 / k
    assert max(abs(size - expected) for size in sizes) < 4.5 * np.sqrt(expected)


def test_without_a_validation_share_nobody_validates():
    for fold in k_folds(many(300), 4, Split(train=0.7, validation=0)):
        assert not len(fold.rows("validation"))


def test_another_patient_moves_nobody():
    keys = [f"{number:064x}" for number in range(200)]
    before, after = k_folds(cohort_of(keys), 5), k_folds(cohort_of([*keys, "f" * 64]), 5)
    for one, other in zip(before, after, strict=True):
        assert np.array_equal(one.split, other.split[:-1])


def test_the_outcome_and_the_split_of_intake_do_not_enter():
    cohort = make_cohort("site-a", 100)
    other = make_cohort("site-a", 100, one_class=True)
    for one, two in zip(k_folds(cohort, 3), k_folds(other, 3), strict=True):
        assert np.array_equal(one.split, two.split)


@pytest.mark.parametrize("k", [2, 3, 5, 10])
def test_whatever_folds_are_subtracted_the_rest_is_groups_of_at_least_the_minimum(k):
    """Sums over train, validation or test of any folds tell only of patients who are together in all of them."""
    minimum = 5
    folds = k_folds(many(600), k, minimum=minimum)
    membership = list(zip(*(fold.split.tolist() for fold in folds), strict=True))
    atoms = [membership.count(atom) for atom in set(membership)]
    assert min(atoms) >= minimum


@pytest.mark.parametrize("k", [2, 3, 5, 10])
def test_patients_of_a_group_are_together_in_every_fold(k):
    """And two groups are apart in some, or they would be one."""
    folds = k_folds(many(600), k)
    groups = folds[0].group
    assert all(np.array_equal(fold.group, groups) for fold in folds)
    membership = np.stack([fold.split for fold in folds], axis=1)
    for group in np.unique(groups):
        assert len(np.unique(membership[groups == group], axis=0)) == 1
    assert np.array_equal(folds[0].groups(np.array([3, 7])), groups[[3, 7]])


@pytest.mark.parametrize("fold", [None, Loso(held_out="site-b")])
def test_outside_k_folds_everybody_is_of_one_group(fold):
    found = divided(many(20), fold)
    assert found.group is None
    assert found.groups(np.arange(4)).tolist() == [0] * 4


def test_a_site_whose_folds_differ_by_too_few_patients_takes_no_part_in_any():
    small = cohort_of([f"{number:064x}" for number in range(22)])
    for index in range(5):
        with pytest.raises(Refusal, match="fold-too-small"):
            divided(small, KFold(index=index, of=5), minimum=5)
    assert len(divided(small, KFold(index=0, of=5), minimum=1).rows("test"))


def test_the_site_held_out_is_tested_whole_and_the_others_keep_the_fixed_split():
    cohort, fold = many(30), Loso(held_out="site-a")
    assert (divided(cohort, fold, site="site-a").split == "test").all()
    other = divided(cohort, fold, site="site-b")
    assert np.array_equal(other.rows("train"), cohort.rows("train"))
    assert np.array_equal(other.rows("validation"), cohort.rows("validation"))
    assert not len(other.rows("test"))
    assert (other.split[cohort.rows("test")] == UNUSED).all()


def test_earlier_patients_train_and_the_latest_are_tested():
    order = np.random.default_rng(0).permutation(100).astype(np.int32)
    found = divided(cohort_of([str(number) for number in range(100)], order), Temporal())
    by_split = {name: order[found.rows(name)] for name in ("train", "validation", "test")}
    assert [len(ranks) for ranks in by_split.values()] == [60, 15, 25]
    assert by_split["train"].max() < by_split["validation"].min()
    assert by_split["validation"].max() < by_split["test"].min()


def test_patients_of_one_date_stay_together():
    order = np.repeat([0, 50], 50).astype(np.int32)
    found = divided(cohort_of([str(number) for number in range(100)], order), Temporal())
    assert set(found.split[:50]) == {"train"}
    assert set(found.split[50:]) == {"train"}  # half of all came earlier, and .5 < .6


def test_a_patient_without_a_date_is_left_out_and_does_not_shift_the_others():
    order = np.array([-1, *range(10)], np.int32)
    found = divided(cohort_of([str(number) for number in range(11)], order), Temporal())
    assert found.split.tolist() == [UNUSED, *["train"] * 6, *["validation"] * 2, *["test"] * 2]


@pytest.mark.parametrize("order", [None, np.full(5, -1, np.int32)])
def test_without_dates_the_temporal_split_is_refused(order):
    with pytest.raises(Refusal, match="no-dates"):
        divided(cohort_of(list("abcde"), order), Temporal())


def test_no_fold_changes_nothing():
    cohort = many(9)
    assert divided(cohort, None) is cohort


@pytest.mark.parametrize("message_type", BEFORE_THE_TEST)
def test_a_site_held_out_refuses_everything_but_its_test(message_type):
    with pytest.raises(Refusal, match=r"\[held-out\]"):
        require_part(message_type, Loso(held_out="site-a"), "site-a")
    require_part(message_type, Loso(held_out="site-a"), "site-b")


@pytest.mark.parametrize("message_type", OF_THE_TEST)
def test_the_other_sites_refuse_the_test_of_one_held_out(message_type):
    with pytest.raises(Refusal, match=r"\[not-held-out\]"):
        require_part(message_type, Loso(held_out="site-a"), "site-b")
    require_part(message_type, Loso(held_out="site-a"), "site-a")


def test_every_message_type_is_on_one_side_or_the_other():
    from fedescc.common.schema import ALLOWED

    assert set(ALLOWED) == {*BEFORE_THE_TEST, *OF_THE_TEST}


def site(toy, name="site-a", minimum=3):
    return LocalSite(name, toy.study, ReleasePolicy(min_class_count=minimum), toy.cohorts[name])


def request(toy, fold):
    return Request(toy.study.sha256, {"fold": None if fold is None else fold.model_dump(mode="json")})


def test_held_out_holds_at_the_door_of_every_message(toy):
    for message_type in BEFORE_THE_TEST:
        with pytest.raises(Refusal, match=r"\[held-out\]"):
            answer(site(toy), message_type, request(toy, Loso(held_out="site-a")))


FAMILIES = [[None, Loso(held_out="site-a"), Loso(held_out="b")], [KFold(index=0, of=2)], [KFold(index=0, of=3)]]


@pytest.mark.parametrize(("first", "second"), [*itertools.permutations(range(3), 2)])
def test_a_running_site_follows_one_division(toy, first, second):
    """Two divisions could be subtracted from each other until single patients remain."""
    one = site(toy)
    for fold in FAMILIES[first]:
        one.view(request(toy, fold))
    for fold in FAMILIES[second]:
        with pytest.raises(Refusal, match="another-division"):
            one.view(request(toy, fold))


def test_the_sites_own_minimum_decides_whether_folds_are_too_small(toy):
    assert len(site(toy, minimum=3).view(request(toy, KFold(index=0, of=5))).rows("test"))
    with pytest.raises(Refusal, match="fold-too-small"):
        site(toy, minimum=100).view(request(toy, KFold(index=0, of=5)))


def test_a_refused_division_binds_nobody(toy):
    one = site(toy, minimum=20)
    with pytest.raises(Refusal, match="fold-too-small"):
        one.view(request(toy, KFold(index=0, of=20)))
    assert len(one.view(request(toy, None)).rows("test"))


def test_folds_of_one_number_are_one_division():
    assert division(KFold(index=0, of=5)) == division(KFold(index=4, of=5)) != division(KFold(index=0, of=4))
    assert division(Temporal()) not in {division(None), division(KFold(index=0, of=5))}
