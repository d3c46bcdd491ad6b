"""Named comparators and the fusion of finished models, over the wire; several models at one opening of the test set."""

import dataclasses

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score
from toy_comparators import Sites

from fedescc.client import app
from fedescc.client.features import store
from fedescc.client.site import ReleasePolicy
from fedescc.common import wire
from fedescc.common.errors import Refusal
from fedescc.common.identity import MAX_DECLARED, look_digest
from fedescc.common.statistics.logistic import towards_equal
from fedescc.common.study import FEATURE_GROUP, read_study
from fedescc.common.tabular.columns import NumericColumn
from fedescc.common.tabular.features import NAMED_FEATURES, RADIOMIC_FEATURES
from fedescc.server.evaluation.comparators import FUSION_PENALTY, candidate_features, fit_comparator, fuse
from fedescc.server.evaluation.evaluate import evaluate, evaluate_all


@pytest.fixture
def sites(toy):
    toy.policies = dict.fromkeys(
        toy.cohorts, ReleasePolicy(min_class_count=3, score_histogram="plain", small_newton="plain")
    )
    return Sites(toy)


@pytest.fixture
def models(sites):
    """Two linear models on one encoding: the pooled regression, and one near it."""
    encoding = sites.encoding()
    first = sklearn(*sites.pooled(encoding), 1.0)
    rng = np.random.default_rng(3)
    task = {"encoding": encoding.model_dump(mode="json"), "model": "linear"}
    return {
        name: sites.evaluator(weights.astype(np.float32), **task)
        for name, weights in (("one", first), ("two", first + 0.5 * rng.normal(size=len(first))))
    }


def scores(sites, model, split):
    X, y = sites.pooled(sites.encoding(), split)
    return X @ model.weights[1:].astype(float) + model.weights[0], y


def sklearn(X, y, c):
    model = LogisticRegression(C=c, solver="newton-cholesky", tol=1e-12, max_iter=1000).fit(X, y)
    return np.r_[model.intercept_, model.coef_[0]]


def test_the_clinical_comparator_is_the_pooled_regression(sites):
    encoding = sites.encoding()
    found = fit_comparator("clinical", sites.evaluator(), encoding)
    assert found.coefficients == pytest.approx(sklearn(*sites.pooled(encoding), found.penalty), abs=1e-6)
    assert found.weights == pytest.approx(found.coefficients, abs=1e-6)
    assert found.weights.dtype == np.float32
    assert found.encoding.columns == encoding.columns
    assert found.attendance.accepted == sorted(sites.sites)
    entry = found.entry()
    assert entry["penalty"] == found.penalty
    assert entry["selected"] == []
    assert len(entry["path"]) == 9
    assert entry["fitted_on"] == sorted(sites.sites)


def test_its_evaluation_is_that_of_its_own_scores(sites):
    found = fit_comparator("clinical", sites.evaluator(), sites.encoding(), penalties=(0.3, 1.0))
    logit, y = scores(sites, found, "test")
    result = evaluate(found.evaluator)
    assert result.pooled["auc"] == pytest.approx(roc_auc_score(y, logit), abs=0.005)
    for name, cohort in sites.toy.cohorts.items():
        rows = cohort.rows("test")
        X = sites.encoding().encode(cohort.numeric, cohort.categorical, rows)
        expected = roc_auc_score(cohort.labels[rows], X @ found.weights[1:])
        assert result.sites[name]["auc"] == pytest.approx(expected, abs=1e-6)  # it leaves with six decimals


def test_an_unknown_comparator_and_one_without_columns_are_refused(sites):
    with pytest.raises(Refusal, match="unknown-comparator"):
        fit_comparator("random-forest", sites.evaluator(), sites.encoding())
    with pytest.raises(Refusal, match="no-columns"):
        fit_comparator("clinical", sites.evaluator(), sites.encoding().only(()))


def test_each_comparator_chooses_from_its_own_features():
    assert candidate_features("clinical") == ()
    assert candidate_features("features_clinical") == tuple(NAMED_FEATURES)
    assert candidate_features("radiomics_clinical") == (*NAMED_FEATURES, *RADIOMIC_FEATURES)


def test_screened_features_join_the_clinical_columns(sites, monkeypatch):
    """Features as sites with images would measure them: one tells the outcome, one repeats it, one is noise."""
    told, echo, noise = "tumour_volume_change", "wall_thickness_max_change", "tumour_hu_post"

    def measured(cohort, names, imaging, folder):
        rng = np.random.default_rng(len(cohort))
        signal = cohort.labels + rng.normal(size=len(cohort))
        known = {told: signal, echo: 5 * signal, noise: rng.normal(size=len(cohort))}
        return dataclasses.replace(cohort, numeric={**cohort.numeric, **{name: known[name] for name in names}})

    monkeypatch.setattr(store, "with_features", measured)
    sites.toy.study = sites.toy.study.model_copy(update={"imaging": read_study("escc-pcr").imaging})
    for site in sites.sites.values():
        site.study = sites.toy.study
    columns = [NumericColumn(name=name, group=FEATURE_GROUP, mean=0, sd=1) for name in (told, echo, noise)]
    encoding = sites.encoding()
    encoding = encoding.model_copy(update={"covariates": (*encoding.covariates, *columns)})
    found = fit_comparator("features_clinical", sites.evaluator(), encoding, penalties=(0.1,))
    assert found.selected in ((told, noise), (echo, noise))
    assert set(found.encoding.features) == set(found.selected)
    weight = dict(zip(("", *found.encoding.columns), found.weights, strict=True))
    assert weight[found.selected[0]] > 0
    assert evaluate(found.evaluator).pooled["auc"] > 0.8
    assert found.penalty == 0.1


def test_the_fusion_equals_scikit_learn_on_transformed_scores(sites, models):
    """Standardised scores Z, weights w = P^(-1/2) u: scikit-learn's own ridge on Z P^(-1/2)."""
    found = fuse("fusion", models)
    pairs = [scores(sites, model, "validation") for model in models.values()]
    S, y = np.stack([score for score, _ in pairs], axis=1), pairs[0][1]
    values, vectors = np.linalg.eigh(towards_equal(2, FUSION_PENALTY).matrix)
    root = vectors @ np.diag(values**-0.5) @ vectors.T
    u = sklearn((S / S.std(axis=0)) @ root, y, FUSION_PENALTY)
    expected = np.r_[u[0], root @ u[1:] / S.std(axis=0)]
    # The sites score in float32.
    assert found.coefficients == pytest.approx(expected, abs=1e-5)
    assert found.evaluator.task["fusion"] == list(found.coefficients)
    assert len(found.weights) == sum(len(model.weights) for model in models.values())


def test_few_validation_patients_cannot_put_all_weight_on_one_model(toy, models):
    """Of 36 validation patients two equally good models get nearly equal weights, without a ridge far from it."""
    for name, cohort in toy.cohorts.items():
        keep = np.r_[cohort.rows("validation")[:9], np.flatnonzero(cohort.split != "validation")]
        split = cohort.split.copy()
        split[np.setdiff1d(np.arange(len(cohort)), keep)] = "test"
        toy.cohorts[name] = dataclasses.replace(cohort, split=split)
    sites = Sites(toy)
    S = np.stack([scores(sites, model, "validation")[0] for model in models.values()], axis=1)
    y = sites.pooled(sites.encoding(), "validation")[1]
    free = sklearn(S / S.std(axis=0), y, 1e6)[1:]
    own = {name: sites.evaluator(model.weights, **model.task) for name, model in models.items()}
    held = np.array(fuse("fusion", own).coefficients[1:]) * S.std(axis=0)
    assert abs(held[0] - held[1]) < 0.6 * abs(free[0] - free[1])


def test_fused_scores_are_evaluated_like_any_model(sites, models):
    fusion = fuse("fusion", models)
    found = evaluate_all({**models, "fusion": fusion.evaluator})
    pairs = [scores(sites, model, "test") for model in models.values()]
    logit = fusion.coefficients[0] + np.stack([s for s, _ in pairs], axis=1) @ np.array(fusion.coefficients[1:])
    assert found["fusion"].pooled["auc"] == pytest.approx(roc_auc_score(pairs[0][1], logit), abs=0.005)
    assert set(found) == {"one", "two", "fusion"}


@pytest.mark.parametrize("count", [1, 9])
def test_a_fusion_takes_two_to_eight_models(models, count):
    with pytest.raises(Refusal, match="too-few-models" if count < 2 else "too-many-models"):
        fuse("fusion", dict.fromkeys(map(str, range(count)), models["one"]))


def test_a_constant_model_does_not_spoil_the_fusion(sites, models):
    silent = dataclasses.replace(models["two"], weights=np.zeros_like(models["two"].weights))
    found = fuse("fusion", {"one": models["one"], "silent": silent})
    logit, y = scores(sites, models["one"], "test")
    fused = evaluate(found.evaluator)
    assert fused.pooled["auc"] == pytest.approx(roc_auc_score(y, logit), abs=0.006)


def watch(monkeypatch):
    """Message type and look of every answer, in order."""
    seen = []
    honest = app.release

    def release(reply, message, request, minimum):
        look = look_digest(request) if message.metadata.message_type == wire.TEST else ""
        seen.append((message.metadata.message_type, look, tuple(request.task.get("declared") or ())))
        return honest(reply, message, request, minimum)

    monkeypatch.setattr(app, "release", release)
    return seen


def test_all_models_are_locked_before_the_first_looks_at_test_patients(sites, models, monkeypatch):
    seen = watch(monkeypatch)
    found = evaluate_all(models)
    types = [kind for kind, _, _ in seen]
    first_look = types.index(wire.TEST)
    assert wire.VALIDATION not in types[first_look:]
    assert wire.TRAINING_SCORES not in types[first_look:]
    declarations = {declared for kind, _, declared in seen if kind == wire.TEST}
    assert len(declarations) == 1
    assert {look for kind, look, _ in seen if kind == wire.TEST} == set(declarations.pop())
    assert found["one"].threshold != found["two"].threshold


def test_one_model_alone_is_evaluated_as_among_others(toy, models):
    together = evaluate_all(models)
    again = Sites(toy)
    for name, model in models.items():
        alone = evaluate(again.evaluator(model.weights, **model.task | {"run": name}))
        assert alone.pooled == together[name].pooled
        assert alone.sites == together[name].sites


@pytest.mark.parametrize("lost", [wire.VALIDATION, wire.TEST])
def test_a_comparator_without_quorum_is_left_out_and_the_runs_own_model_refused(sites, models, monkeypatch, lost):
    honest, unlucky = app.release, models["two"].weights

    def release(reply, message, request, minimum):
        if message.metadata.message_type == lost and np.array_equal(request.weights, unlucky):
            raise Refusal("no-power", "x", "y")
        return honest(reply, message, request, minimum)

    monkeypatch.setattr(app, "release", release)
    assert set(evaluate_all(models)) == {"one"}
    assert set(models["two"].refused[lost].values()) == {"no-power"}
    with pytest.raises(Refusal, match="no-quorum"):
        evaluate_all({"two": models["two"], "one": models["one"]})


def test_too_many_models_are_refused_before_anybody_is_asked(models, monkeypatch):
    seen = watch(monkeypatch)
    with pytest.raises(Refusal, match="too-many-models"):
        evaluate_all(dict.fromkeys(map(str, range(MAX_DECLARED + 1)), models["one"]))
    assert not seen
