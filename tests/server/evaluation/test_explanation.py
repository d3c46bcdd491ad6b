"""Explanations over the wire: those of linear models equal shap's on pooled patients; gates, ranks, hostile sites."""

import json
import warnings

import numpy as np
import pytest
from toy_comparators import Sites

from fedescc.client.site import ReleasePolicy
from fedescc.common import wire
from fedescc.common.errors import Refusal
from fedescc.common.schema import check_reply
from fedescc.common.statistics.shapley import ShapleySums
from fedescc.common.wire import Reply
from fedescc.server.evaluation.comparators import fit_comparator, fuse
from fedescc.server.evaluation.evaluate import evaluate_all
from fedescc.server.evaluation.explanation import explain, rank_entries
from fedescc.server.evaluation.explanation_gates import gate_entries, local_baseline_entry, worst_gates
from fedescc.server.evaluation.explanation_replies import (
    Baselines,
    ExplanationShare,
    RankSums,
    explanation_share,
    reference_share,
)
from fedescc.server.evaluation.pooling import pool_explanations

NAMES = ("pre_tumour", "pre_rim", "pre_rest", "age")


@pytest.fixture
def sites(toy):
    policy = ReleasePolicy(min_class_count=3, score_histogram="plain", small_newton="plain", dominance_percent=0)
    toy.policies = dict.fromkeys(toy.cohorts, policy)
    return Sites(toy)


@pytest.fixture
def comparator(sites):
    found = fit_comparator("clinical", sites.evaluator(), sites.encoding())
    evaluate_all({"clinical": found.evaluator})
    return found


@pytest.fixture
def network(sites):
    """A clinical-only study's own model."""
    encoding = sites.encoding()
    weights = np.linspace(-1, 1, len(encoding.columns) + 1).astype(np.float32)
    evaluator = sites.evaluator(weights, encoding=encoding.model_dump(mode="json"))
    evaluate_all({"federated": evaluator})
    return evaluator


def test_a_comparators_columns_are_those_of_shaps_linear_explainer(sites, comparator):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of matplotlib, at import
        import shap
    entry = explain(comparator.evaluator)
    train, _ = sites.pooled(comparator.encoding, "train")
    test, _ = sites.pooled(comparator.encoding, "test")
    background = shap.maskers.Independent(train.mean(axis=0)[None])
    weights = comparator.weights.astype(float)
    phi = shap.LinearExplainer((weights[1:], weights[0]), background)(test).values
    assert entry["reference"]["kind"] == "federated-means"
    assert entry["reference"]["patients"] == len(train)
    assert entry["reference"]["values"] == pytest.approx(train.mean(axis=0), abs=1e-6)
    assert list(entry["pooled"]) == list(comparator.encoding.columns)
    for place, row in enumerate(entry["pooled"].values()):
        assert row["n"] == len(test)
        assert row["mean_abs"] == pytest.approx(np.abs(phi[:, place]).mean(), abs=1e-6)
        assert row["mean"] == pytest.approx(phi[:, place].mean(), abs=1e-6)
        assert row["sd"] == pytest.approx(phi[:, place].std(ddof=1), abs=1e-5)


def test_gates_and_ranks_of_a_comparator(comparator):
    entry = explain(comparator.evaluator)
    gates = entry["gates"]
    assert gates["additivity_error"]["passed"]
    assert gates["additivity_error"]["value"] < 1e-5
    assert gates["repeat_error"] == {"value": 0.0, "limit": 0.0, "passed": True}
    assert gates["deletion_curve"]["passed"]
    assert -1 <= gates["model_randomisation"]["value"] < 0.8
    for name in ("inside_roi", "inside_roi_by_sd", "local_baseline"):
        assert (gates[name]["value"], gates[name]["passed"], gates[name]["reason"]) == (None, None, "no-images")
    assert entry["local_baseline"] is None
    stability = entry["rank_stability"]
    assert set(stability["sites"]) == {"site-a", "site-b", "site-c", "site-d"}
    assert stability["kendall_w"] > 0.5
    ranks = stability["sites"]["site-a"]
    assert sum(row["mean_rank"] for row in ranks.values()) == pytest.approx(sum(range(1, len(ranks) + 1)))
    assert stability["by_sd"]["order"][0] == "marker"


def test_a_linear_networks_players_are_groups_and_its_columns_come_beside(sites, network):
    entry = explain(network)
    assert list(entry["pooled"]) == ["age", "marker", "sex"]
    assert list(entry["columns"]["pooled"]) == list(sites.encoding().columns)
    # A player's mean is the sum of its columns' means.
    marker = [row["mean"] for name, row in entry["columns"]["pooled"].items() if name.startswith("marker")]
    assert entry["pooled"]["marker"]["mean"] == pytest.approx(sum(marker), abs=1e-5)
    assert entry["gates"]["model_randomisation"]["reason"] == "too-few-players"
    json.dumps(entry, allow_nan=False)


def test_the_order_in_which_sites_answer_changes_nothing(toy, comparator):
    first = explain(comparator.evaluator)
    shuffled = Sites(toy, shuffle=5)
    found = fit_comparator("clinical", shuffled.evaluator(), shuffled.encoding())
    evaluate_all({"clinical": found.evaluator})
    assert explain(found.evaluator) == first


def test_a_fusion_is_explained_by_its_models(sites, network):
    clinical = fit_comparator("clinical", sites.evaluator(), sites.encoding())
    fused = fuse("fusion", {"federated": network, "clinical": clinical.evaluator})
    assert explain(fused.evaluator) == {
        "unit": "logit", "pooled": None, "sites": {}, "reason": "explained-by-its-models",
    }  # fmt: skip


def test_without_sums_of_columns_a_removed_input_shows_zero_and_a_small_site_is_named(sites, comparator):
    for site in sites.sites.values():
        site.policy = site.policy.model_copy(update={"min_class_count": 10_000})
    entry = explain(comparator.evaluator)
    assert entry["reference"]["kind"] == "zero"
    assert not any(entry["reference"]["values"])
    assert entry["pooled"] is None
    assert entry["gates"] == {}
    assert set(entry["suppressed"].values()) == {"class-count-below-minimum"}


def test_nothing_in_a_reply_is_as_long_as_the_patients_are_many(sites, comparator, monkeypatch):
    from fedescc.server import exchange as door

    seen = []
    monkeypatch.setattr(door, "check_reply", lambda kind, reply: seen.append((kind, reply)) or check_reply(kind, reply))
    explain(comparator.evaluator)
    kinds = {kind for kind, _ in seen}
    assert kinds == {wire.REFERENCE, wire.EXPLANATION}
    columns = len(comparator.encoding.columns)
    for _, reply in seen:
        assert {len(value) for value in reply.sums.values() if isinstance(value, list)} <= {columns}


def reply_of(**changes):
    sums = {
        "n": 6,
        "counts": [6, 6],
        "absolute": [3.0, 6.0],
        "total": [1.0, -6.0],
        "squares": [3.0, 6.0],
        "rank_total": [400.0, 200.0],
        "rank_squares": [800.0, 200.0],
    }
    return Reply("site-a", "study", {key: value for key, value in (sums | changes).items() if value is not None})


def test_a_good_share_is_read():
    share = explanation_share(reply_of(deletion_total=2.0), 2)
    assert share.sums.n.tolist() == [6, 6]
    assert share.figures == {"deletion_total": 2.0}
    assert share.baselines is None
    assert explanation_share(reply_of(counts=None), 2) is None


@pytest.mark.parametrize(
    "changes",
    [
        {"counts": [6, 7]},  # more than there are
        {"n": None},
        {"total": [4.0, 0.0]},  # more than the sum of sizes
        {"squares": [1.0, 6.0]},  # less than sizes allow: 3² > 6 · 1
        {"absolute": [3.0]},
        {"rank_total": [1.0]},
        {"counts": [0, 6]},  # sums of nobody
        {"gate_counts": [7, 6], "fixed_absolute": [0.0, 0.0], "local_absolute": [0.0, 0.0]},
        {"gate_counts": [6, 6], "fixed_absolute": [0.0, 0.0]},
    ],
)
def test_what_patients_cannot_have_is_refused(changes):
    with pytest.raises(Refusal, match="malformed-message"):
        explanation_share(reply_of(**changes), 2)


@pytest.mark.parametrize("sums", [{"n": 0, "totals": [0.0]}, {"n": 5, "totals": [0.0, 1.0]}, {"n": 5}])
def test_sums_of_columns_need_patients_and_every_column(sums):
    with pytest.raises(Refusal, match="malformed-message"):
        reference_share(Reply("site-a", "study", sums), 1)


def share(absolute, squares=None, n=10, **figures):
    size = np.asarray(absolute, dtype=float)
    squared = size**2 / n if squares is None else np.asarray(squares, dtype=float)
    sums = ShapleySums(np.full(len(size), n), size, np.zeros(len(size)), squared)
    ranks = RankSums(np.ones(len(size)), np.ones(len(size)))
    return ExplanationShare(n, sums, ranks, figures, Baselines(np.full(len(size), n), size, size[::-1].copy()))


def test_gates_of_several_sites_are_pooled_and_a_failure_is_said():
    one = share([6, 2, 4, 9], additivity_error=1e-7, repeat_error=0.0, random_correlation=0.9, deletion_total=10.0)
    two = share([6, 2, 4, 9], n=30, additivity_error=2e-5, repeat_error=0, random_correlation=0.5, deletion_total=-50.0)
    gates = gate_entries(NAMES, {"a": one, "b": two})
    assert gates["additivity_error"] == {"value": 2e-5, "limit": 1e-5, "passed": False}
    assert gates["model_randomisation"]["value"] == pytest.approx((10 * 0.9 + 30 * 0.5) / 40)
    assert gates["deletion_curve"] == {"value": -1.0, "limit": 0.0, "passed": False}
    assert gates["inside_roi"]["value"] == pytest.approx(8 / 12)
    assert gates["local_baseline"]["value"] == pytest.approx(0.5)  # ranks 1, 3, 2 beside 1, 2, 3
    local = local_baseline_entry(NAMES, {"a": one, "b": two})
    assert local["pre_tumour"] == {"n": 40, "fixed": pytest.approx(0.3), "local": pytest.approx(0.45)}


def test_a_gate_that_one_site_does_not_report_is_not_passed():
    gates = gate_entries(NAMES, {"a": share([1, 1, 1, 1], additivity_error=0.0), "b": share([1, 1, 1, 1])})
    assert gates["additivity_error"] == {"value": None, "limit": 1e-5, "passed": None, "reason": "not-released"}


def test_ranks_by_sd_ignore_what_every_patient_has_in_common():
    offset = share([50, 10, 5, 1], squares=[2.5, 10, 5, 1])  # the first player moves everybody by 5
    offset = ExplanationShare(
        10, ShapleySums(offset.sums.n, offset.sums.absolute, np.array([50.0, 0, 0, 0]), np.array([250.0, 10, 5, 1])),
        offset.ranks, {},
    )  # fmt: skip
    found = rank_entries(NAMES, {"a": offset, "b": offset})
    assert found["by_sd"]["order"] == ["pre_rim", "pre_rest", "age", "pre_tumour"]
    assert found["kendall_w"] == 1.0
    assert found["players_compared"] == 4
    assert rank_entries(NAMES, {"a": offset})["reason"] == "too-few-sites"


def test_of_several_folds_the_worst_gate_counts():
    good = {"value": 1e-7, "limit": 1e-5, "passed": True}
    bad = {"value": 1e-3, "limit": 1e-5, "passed": False}
    none = {"value": None, "limit": 0.5, "passed": None, "reason": "no-images"}
    folds = [
        {"pooled": None, "sites": {}, "gates": {"additivity_error": one, "inside_roi": none}}
        for one in (good, bad, good)
    ]
    assert worst_gates(folds) == {"additivity_error": bad, "inside_roi": none}
    assert pool_explanations(folds)["gates"]["additivity_error"]["passed"] is False
