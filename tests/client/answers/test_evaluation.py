"""One fold's test set opens once, for the looks that its first request declares."""

import dataclasses
import pickle

import numpy as np
import pytest

from fedescc.client.answers.dispatch import answer
from fedescc.client.local_site import LocalSite
from fedescc.common import wire
from fedescc.common.errors import Refusal
from fedescc.common.identity import MAX_DECLARED, look_digest
from fedescc.common.statistics.newton import MAX_EVALUATIONS
from fedescc.common.tabular.columns import NumericColumn
from fedescc.common.tabular.covariates import Encoding
from fedescc.common.wire import Request

ENCODING = Encoding(covariates=(NumericColumn(name="age", group="age", mean=50, sd=10),)).model_dump(mode="json")


@pytest.fixture
def site(toy):
    return LocalSite("site-a", toy.study, toy.policy("site-a"), toy.cohorts["site-a"])


def model(site, of_age, threshold=0.0, **task):
    fixed = {"run": "r1", "encoding": ENCODING, "plan": site.study.analysis.sha256}
    full = fixed | {"edges": [-1.0, 0.0, 1.0], "threshold": threshold, **task}
    return Request(site.study.sha256, full, np.array([0.0, of_age, 0.0], np.float32))


def look(site, request, declared):
    task = request.task | {"declared": [look_digest(one) for one in declared]}
    return answer(site, wire.TEST, dataclasses.replace(request, task=task))


def test_every_declared_model_may_look_with_its_own_threshold(site):
    one, two = model(site, 1.0), model(site, 2.0, threshold=0.5)
    first = look(site, one, [one, two])
    second = look(site, two, [one, two])
    assert first.sums["auc"] == pytest.approx(second.sums["auc"])
    assert first.sums["tp"] != second.sums["tp"]
    assert look(site, one, [one, two]) is first


def test_a_model_that_was_not_declared_may_not_look(site):
    one, two, three = (model(site, slope) for slope in (1.0, 2.0, 3.0))
    look(site, one, [one, two])
    with pytest.raises(Refusal, match="test-already-opened"):
        look(site, three, [one, two])
    with pytest.raises(Refusal, match="test-already-opened"):
        look(site, three, [one, two, three])


@pytest.mark.parametrize("index", ["0", 0.0, False])
def test_another_spelling_of_the_fold_opens_no_second_test(site, index):
    first, again = (
        model(site, slope, fold={"mode": "kfold", "index": i, "of": 3}) for slope, i in ((1.0, 0), (-1.0, index))
    )
    look(site, first, [first])
    with pytest.raises(Refusal, match="unknown-fold"):
        look(site, again, [again])


def test_what_chooses_a_sites_own_parameters_makes_another_model(site):
    opened = model(site, 1.0)
    look(site, opened, [opened])
    settings = {"personalisation": {"kind": "ditto"}}
    with pytest.raises(Refusal, match="test-already-opened"):
        answer(site, wire.RECALIBRATION, model(site, 1.0, large=[0.0], slope=[0.0, 1.0], federation=settings))


def test_the_first_request_must_declare_itself(site):
    with pytest.raises(Refusal, match="test-already-opened"):
        look(site, model(site, 1.0), [model(site, 2.0)])
    look(site, model(site, 2.0), [model(site, 2.0)])


@pytest.mark.parametrize("change", [{"threshold": 0.3}, {"edges": [0.0, 0.5, 1.0]}])
def test_a_declared_model_cannot_change_threshold_or_bins_even_before_its_first_look(site, change):
    """Else what the first model's test figures say could choose the second's threshold."""
    one, two = model(site, 1.0), model(site, 2.0)
    look(site, one, [one, two])
    with pytest.raises(Refusal, match="test-already-opened"):
        look(site, dataclasses.replace(two, task=two.task | change), [one, two])
    look(site, two, [one, two])


def test_one_model_has_one_threshold_even_where_two_are_declared(site):
    one, again = model(site, 1.0), model(site, 1.0, threshold=0.5)
    first = look(site, one, [one, again])
    with pytest.raises(Refusal, match="test-already-opened"):
        look(site, again, [one, again])
    assert look(site, one, [one, again]) is first


def test_a_declaration_cannot_change(site):
    one, two, three = (model(site, slope) for slope in (1.0, 2.0, 3.0))
    look(site, one, [one, two])
    for changed in ([one, two, three], [two], [two, one]):
        with pytest.raises(Refusal, match="test-already-opened"):
            look(site, two, changed)


def test_too_many_models_may_not_be_declared(site):
    models = [model(site, float(slope)) for slope in range(MAX_DECLARED + 1)]
    with pytest.raises(Refusal, match="too-many-models"):
        look(site, models[0], models)
    look(site, models[0], models[:-1])


def test_what_follows_a_look_is_refused_to_a_model_that_has_not_looked(site):
    one, two = model(site, 1.0), model(site, 2.0)
    asked = {"large": [0.0], "slope": [0.0, 0.0]}
    with pytest.raises(Refusal, match="test-not-opened"):
        answer(site, wire.RECALIBRATION, model(site, 1.0, **asked))
    look(site, one, [one, two])
    answer(site, wire.RECALIBRATION, model(site, 1.0, **asked))
    for message_type, task in ((wire.RECALIBRATION, asked), (wire.EXPLANATION, {})):
        with pytest.raises(Refusal, match="test-already-opened"):
            answer(site, message_type, model(site, 2.0, **task))


def test_every_model_has_its_own_count_of_recalibrations(site):
    one, two = model(site, 1.0), model(site, 2.0)
    asked = {"large": [0.0], "slope": [0.0, 0.0]}
    look(site, one, [one, two])
    look(site, two, [one, two])
    for _ in range(MAX_EVALUATIONS):
        answer(site, wire.RECALIBRATION, model(site, 1.0, **asked))
    with pytest.raises(Refusal, match="too-many-questions"):
        answer(site, wire.RECALIBRATION, model(site, 1.0, **asked))
    answer(site, wire.RECALIBRATION, model(site, 2.0, **asked))


def test_another_run_opens_the_same_test_set_and_says_how_many_did_before(site):
    for number in range(3):
        other = model(site, 2.0, run=f"r{number}")
        assert look(site, other, [other]).sums["openings_before"] == number
    first = model(site, 2.0, run="r0")
    assert look(site, first, [first]).sums["openings_before"] == 0


@pytest.mark.parametrize("first", [None, {"mode": "loso", "held_out": "site-a"}])
def test_in_one_run_the_fixed_split_and_the_site_held_out_share_their_test_patients(site, first):
    """One of both opens them; in another run the other may."""
    folds = [None, {"mode": "loso", "held_out": "site-a"}]
    folds.remove(first)
    one, other = model(site, 1.0, fold=first), model(site, 2.0, fold=folds[0])
    look(site, one, [one])
    with pytest.raises(Refusal, match="test-already-opened"):
        look(site, other, [other])
    next_run = model(site, 2.0, run="r2", fold=folds[0])
    assert look(site, next_run, [next_run]).sums["openings_before"] == 1


def test_k_folds_test_different_patients_and_each_opens_once(site):
    for index in range(3):
        one, again = (model(site, s, fold={"mode": "kfold", "index": index, "of": 3}) for s in (1.0, 2.0))
        assert look(site, one, [one]).sums["openings_before"] == 0
        with pytest.raises(Refusal, match="test-already-opened"):
            look(site, again, [again])


@pytest.mark.parametrize("plan", [None, "0" * 64])
def test_without_this_studys_plan_no_test_set_opens(site, plan):
    one = model(site, 1.0)
    task = {key: value for key, value in one.task.items() if key != "plan"} | ({} if plan is None else {"plan": plan})
    with pytest.raises(Refusal, match=r"\[plan-mismatch\]"):
        answer(site, wire.TEST, dataclasses.replace(one, task=task))
    assert look(site, one, [one]).sums["openings_before"] == 0


def test_other_test_patients_than_were_opened_are_not_tested(site):
    """A table that was changed in the middle of a run must not test further patients."""
    one = model(site, 1.0)
    site.policy = site.policy.model_copy(update={"small_changes": "plain"})
    look(site, one, [one])
    split = site.cohort.split.copy()
    split[site.cohort.rows("validation")[0]] = "test"
    site.cohort = dataclasses.replace(site.cohort, split=split)
    with pytest.raises(Refusal, match="test-already-opened"):
        look(site, one, [one])


def reopened(site, folder):
    """The site as another process opens it."""
    return LocalSite(site.name, site.study, site.policy, site.cohort, folder)


def test_after_a_restart_the_declared_looks_are_the_same_bytes_and_no_other_is_possible(site, tmp_path):
    before = reopened(site, tmp_path)
    one, two, three = (model(site, slope) for slope in (1.0, 2.0, 3.0))
    first = look(before, one, [one, two])
    after = reopened(site, tmp_path)
    assert pickle.dumps(look(after, one, [one, two])) == pickle.dumps(first)
    assert look(after, two, [one, two]).sums["openings_before"] == 0
    for declared in ([three], [one, two, three], [two, one]):
        with pytest.raises(Refusal, match="test-already-opened"):
            look(after, declared[0], declared)
    with pytest.raises(Refusal, match="test-already-opened"):
        look(after, model(site, 1.0, threshold=0.3), [one, two])


def test_after_a_restart_what_follows_a_look_is_still_counted(site, tmp_path):
    look(reopened(site, tmp_path), model(site, 1.0), [model(site, 1.0)])
    asked = model(site, 1.0, large=[0.0], slope=[0.0, 0.0])
    for _ in range(2):
        one = reopened(site, tmp_path)
        for _ in range(MAX_EVALUATIONS // 2):
            answer(one, wire.RECALIBRATION, asked)
    with pytest.raises(Refusal, match="too-many-questions"):
        answer(reopened(site, tmp_path), wire.RECALIBRATION, asked)


def test_a_class_small_in_one_group_of_k_folds_hides_every_sum_that_holds_the_group(site):
    """Else a fold without the group, taken off one with it, would tell the few."""
    fold = {"mode": "kfold", "index": 0, "of": 5}
    groups = site.view(model(site, 1.0, fold=fold)).group
    labels = site.cohort.labels.copy()
    inside = np.flatnonzero(groups == 0)
    labels[inside] = 0
    labels[inside[:2]] = 1
    site.cohort = dataclasses.replace(site.cohort, labels=labels)
    seen = []
    for index in range(5):
        one = model(site, 1.0, fold=fold | {"index": index})
        closed = dataclasses.replace(one, task={key: value for key, value in one.task.items() if key != "plan"})
        for message_type, request, split in (
            (wire.VALIDATION, closed, "validation"),
            (wire.TEST, one, "test"),
        ):
            reply = answer(site, message_type, request)
            holds = 0 in groups[site.view(one).rows(split)]
            seen.append(holds)
            assert ("n" in reply.sums, "n_pos" in reply.sums) == (not holds, not holds)
    assert {True, False} == set(seen)


def test_scores_of_several_models_are_kept_and_their_number_is_bounded(site, monkeypatch):
    asked = []
    honest = LocalSite.prepared
    monkeypatch.setattr(LocalSite, "prepared", lambda *args: asked.append(args) or honest(*args))
    models = [model(site, float(slope)) for slope in range(40)]
    for one in (*models[:5], *models[:5]):
        site.logits(one, "test")
    assert len(asked) == 5
    for one in models:
        site.logits(one, "test")
    assert len(site._logits) == 32


def test_scores_of_a_round_are_not_those_of_a_later_question(site, monkeypatch):
    """Under personalisation the site's own parameters have moved on."""
    asked = []
    honest = LocalSite.prepared
    monkeypatch.setattr(LocalSite, "prepared", lambda *args: asked.append(args) or honest(*args))
    for task in ({"round": 1}, {"round": 2}, {}, {"round": 1}):
        site.logits(model(site, 1.0, **task), "validation")
    assert len(asked) == 3


def test_a_fold_of_two_groups_is_tested_whole_and_nothing_tells_of_one_where_a_class_is_small_in_one(site):
    """Of three folds each tests two groups and validates on one of another's."""
    fold = {"mode": "kfold", "index": 0, "of": 3}
    view = site.view(model(site, 1.0, fold=fold))
    labels = site.cohort.labels.copy()
    inside = np.flatnonzero(view.group == view.group[view.block == 1].min())
    labels[inside], labels[inside[:2]] = 0, 1
    site.cohort = dataclasses.replace(site.cohort, labels=labels)
    for index in range(3):
        one = model(site, 1.0, fold=fold | {"index": index})
        closed = dataclasses.replace(one, task={key: value for key, value in one.task.items() if key != "plan"})
        assert answer(site, wire.TEST, one).sums["n"] == (view.block == index).sum()
        validates = set(view.block[site.view(one).rows("validation")])
        assert ("n" in answer(site, wire.VALIDATION, closed).sums) is (1 not in validates)
