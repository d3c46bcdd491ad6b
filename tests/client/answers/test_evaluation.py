"""One fold's test set opens once, for the looks that its first request declares."""

import dataclasses

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
    full = {"run": "r1", "encoding": ENCODING, "edges": [-1.0, 0.0, 1.0], "threshold": threshold, **task}
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
    with pytest.raises(Refusal, match="test-already-opened"):
        look(site, again, [again])


@pytest.mark.parametrize("change", [{"round": 3}, {"federation": {"personalisation": {"kind": "ditto"}}}])
def test_what_chooses_a_sites_own_parameters_makes_another_model(site, change):
    opened = model(site, 1.0)
    look(site, opened, [opened])
    with pytest.raises(Refusal, match="test-already-opened"):
        answer(site, wire.RECALIBRATION, model(site, 1.0, large=[0.0], slope=[0.0, 1.0], **change))


def test_the_first_request_must_declare_itself(site):
    with pytest.raises(Refusal, match="test-already-opened"):
        look(site, model(site, 1.0), [model(site, 2.0)])
    assert not site.opened


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
    for message_type in (wire.RECALIBRATION, wire.EXPLANATION):
        with pytest.raises(Refusal, match="test-already-opened"):
            answer(site, message_type, model(site, 2.0, **asked))


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


def test_another_run_and_another_fold_open_their_own_test_sets(site):
    look(site, model(site, 1.0), [model(site, 1.0)])
    other = model(site, 2.0, run="r2")
    look(site, other, [other])
    held_out = model(site, 2.0, fold={"mode": "loso", "held_out": "site-a"})
    assert look(site, held_out, [held_out]).sums["n"] == len(site.cohort)
    with pytest.raises(Refusal, match="test-already-opened"):
        look(site, model(site, 2.0), [model(site, 2.0)])


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
