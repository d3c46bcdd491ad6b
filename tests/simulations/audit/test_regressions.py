"""Coefficients that sites fitted together, and the bins of their models, against scikit-learn on pooled patients."""

import dataclasses

import numpy as np
import pytest
from audited import failed
from scipy.optimize import minimize
from toy_comparators import Sites

from fedescc.common.statistics.logistic import towards_equal
from fedescc.server.evaluation.comparators import FUSION_PENALTY, fit_comparator, fuse
from fedescc.simulations.audit.contributions import told_columns
from fedescc.simulations.audit.figures import Ledger
from fedescc.simulations.audit.regressions import audit_fusion, audit_regression
from fedescc.simulations.audit.scores import Regression, pool, regression_of, score


@pytest.fixture
def sites(toy):
    return Sites(toy)


def described(comparator, of=None):
    encoding = None if comparator.encoding is None else comparator.encoding.model_dump(mode="json")
    return {
        "coefficients": list(comparator.coefficients),
        "penalty": comparator.penalty,
        "encoding": encoding,
        "of": of,
    }


def regression_audit(model, sites, encoding, balanced):
    toy, inputs = sites.toy, []
    for name, cohort in toy.cohorts.items():
        X = told_columns(cohort, encoding, toy.study, sites.sites[name].policy, "train")
        inputs.append((X, cohort.labels[cohort.rows("train")]))
    ledger = Ledger()
    audit_regression(ledger, "clinical", model, inputs, balanced=balanced)
    return ledger


@pytest.mark.parametrize("balanced", [False, True])
def test_a_regression_is_scikit_learns_on_the_pooled_patients(sites, balanced):
    encoding = sites.encoding()
    model = described(fit_comparator("clinical", sites.evaluator(), encoding, balanced=balanced))
    ledger = regression_audit(model, sites, encoding, balanced)
    assert failed(ledger) == []
    assert [figure.name for figure in ledger.figures][:2] == ["clinical / intercept", "clinical / age"]
    assert failed(regression_audit(model, sites, encoding, not balanced)) != []
    model["coefficients"][1] += 2e-6
    assert failed(regression_audit(model, sites, encoding, balanced)) == ["clinical / age"]


def test_a_fusion_is_the_penalised_fit_on_the_pooled_validation_scores(sites):
    """Checked twice: by scikit-learn on turned scores, and here by minimising the penalised loss itself."""
    encoding = sites.encoding()
    network = fit_comparator("clinical", sites.evaluator(), encoding.only(["age"]))
    clinical = fit_comparator("clinical", sites.evaluator(), encoding)
    fusion = fuse("fusion", {"federated": network.evaluator, "clinical": clinical.evaluator})
    parts = [Regression(regression_of(described(one))) for one in (network, clinical)]
    model = described(fusion, of=["federated", "clinical"])
    ledger = Ledger()
    audit_fusion(ledger, "fusion", model, parts, sites.toy.cohorts)
    assert failed(ledger) == []
    assert [figure.name for figure in ledger.figures] == [
        "fusion / intercept",
        "fusion / federated",
        "fusion / clinical",
    ]
    scored = [pool(score(part, sites.toy.cohorts, "validation").values()) for part in parts]
    scores = np.stack([one.logit for one in scored], axis=1)
    penalty = towards_equal(2, FUSION_PENALTY).of(2) * np.outer(scores.std(axis=0), scores.std(axis=0))

    def loss(at):
        linear = at[0] + scores @ at[1:]
        return (
            FUSION_PENALTY * np.logaddexp(0, np.where(scored[0].y, -linear, linear)).sum()
            + at[1:] @ penalty @ at[1:] / 2
        )

    found = minimize(loss, np.zeros(3), method="BFGS", options={"gtol": 1e-9}).x
    assert [figure.pooled for figure in ledger.figures] == pytest.approx(found, abs=1e-5)
    model["coefficients"][2] -= 1e-5
    ledger = Ledger()
    audit_fusion(ledger, "fusion", model, parts, sites.toy.cohorts)
    assert failed(ledger) == ["fusion / clinical"]


def test_a_regression_scores_as_the_site_does(sites):
    """In single precision, to the bit, and without opening an image."""
    encoding = sites.encoding()
    fitted = fit_comparator("clinical", sites.evaluator(), encoding)
    scorer = Regression(regression_of(described(fitted)))
    for name, site in sites.sites.items():
        cohort = dataclasses.replace(site.cohort, images=np.zeros((1, 1)), rois=np.zeros((1, 1)))
        own = site.logits(fitted.evaluator.request(), "validation")
        assert (scorer.logits(cohort, cohort.rows("validation")) == own).all(), name
