"""Means, ranges, standard errors, and which strategies can be told apart."""

import math

import numpy as np
import pytest

from fedescc.common.statistics.roc import paired_delong
from fedescc.simulations.scenarios.cells import areas, rounds_to_settle
from fedescc.simulations.scenarios.markdown import as_markdown, cell, marked
from fedescc.simulations.scenarios.page import as_page
from fedescc.simulations.scenarios.summary import behind, best, spread, summarise

LABELS = [0, 0, 0, 0, 1, 1, 1, 1]
PERFECT = [0.0, 1, 2, 3, 4, 5, 6, 7]
CLOSE = [0.0, 1, 2, 4, 3, 5, 6, 7]
POOR = [4.0, 1, 6, 3, 0, 5, 2, 7]


def record(strategy, kind, seed, scores=None, **more):
    head = {"strategy": strategy, "heterogeneity": kind, "seed": seed, "fingerprint": "f", "seconds": 2.0}
    if scores is None:
        return head | {"failed": "no-quorum", "why": "nobody came"} | more
    y, s = np.array(LABELS, np.int8), np.array(scores)
    found = areas({"a": y[::2], "b": y[1::2]}, {"a": s[::2], "b": s[1::2]})
    return head | found | {"labels": LABELS, "scores": scores, "rounds_to_settle": 3} | more


@pytest.fixture
def document(make_sweep):
    sweep = make_sweep(seeds=(0, 1))
    records = [
        record("fedavg", "none", 0, PERFECT),
        record("fedavg", "none", 1, CLOSE),
        record("fedprox", "none", 0, POOR),
        record("fedprox", "none", 1, POOR),
        record("fedavg", "missing_modality", 0),
        record("fedavg", "missing_modality", 1),
        record("fedprox", "missing_modality", 0, CLOSE),
        record("fedprox", "missing_modality", 1),
    ]
    return summarise(sweep, records)


def test_areas_by_hand():
    labels = {"a": np.array([0, 1, 1, 0], np.int8), "b": np.array([0, 1], np.int8)}
    scores = {"a": np.array([0.1, 0.2, 0.4, 0.3]), "b": np.array([0.9, 0.5])}
    found = areas(labels, scores)
    # Of the nine pairs (0.2 0.4 0.5 against 0.1 0.3 0.9): 2 over 0.1 each, so 1+1+1, then 0+1+1, then none.
    assert found["auc"] == pytest.approx(5 / 9)
    assert found["sites"] == {"a": pytest.approx(3 / 4), "b": 0.0}
    assert (found["within"], found["worst"], found["n_test"]) == (pytest.approx(3 / 8), 0.0, 6)


def test_a_hospital_with_one_class_has_no_area_of_its_own():
    labels = {"a": np.array([0, 1], np.int8), "b": np.array([1, 1], np.int8)}
    scores = {name: np.array([0.1, 0.2]) for name in labels}
    found = areas(labels, scores)
    assert found["sites"]["b"] is None
    assert (found["within"], found["worst"]) == (1.0, 1.0)


@pytest.mark.parametrize(
    ("losses", "rounds"),
    [
        ([0.7, 0.6, 0.5], 3),
        ([0.7, 0.505, 0.5], 2),
        ([0.5], 1),
        ([0.5, 0.9, 0.5], 3),
        ([0.505, 0.5, 0.5], 1),
        ([0.5, None], None),
        ([], None),
    ],
)
def test_rounds_to_settle(losses, rounds):
    assert rounds_to_settle(losses) == rounds


def test_spread_leaves_out_what_is_absent():
    assert spread([0.5, None, 0.7]) == {"mean": pytest.approx(0.6), "low": 0.5, "high": 0.7}
    assert spread([None]) is None


def test_the_gap_is_delong_s_on_the_same_patients_averaged_over_seeds():
    leader = [record("fedavg", "none", seed, scores) for seed, scores in ((0, PERFECT), (1, CLOSE))]
    other = [record("fedprox", "none", seed, POOR) for seed in (1, 0, 5)]
    first, second = (paired_delong(LABELS, scores, POOR).value for scores in (PERFECT, CLOSE))
    gap = behind(leader, other)
    assert gap["difference"] == pytest.approx((first.difference + second.difference) / 2)
    assert gap["se"] == pytest.approx(math.hypot(first.standard_error, second.standard_error) / 2)
    assert gap["told_apart"] == (gap["difference"] > 1.96 * gap["se"])
    assert behind(leader, []) is None
    assert behind(leader, leader) == {"difference": 0.0, "se": 0.0, "told_apart": False}


def test_the_best_is_the_highest_mean_and_failures_do_not_count(document):
    groups = document["groups"]
    assert best(groups, "none", "auc") == "fedavg"
    assert best(groups, "missing_modality", "auc") == "fedprox"
    lost = next(g for g in groups if (g["strategy"], g["heterogeneity"]) == ("fedavg", "missing_modality"))
    assert lost["auc"] is None
    assert lost["failed"] == [{"seed": 0, "failed": "no-quorum"}, {"seed": 1, "failed": "no-quorum"}]
    half = next(g for g in groups if (g["strategy"], g["heterogeneity"]) == ("fedprox", "missing_modality"))
    assert half["federations"] == 1


def test_the_standard_error_of_a_mean_falls_with_the_seeds(document):
    assert document["standard_error"]["mean"] == pytest.approx(document["standard_error"]["one"] / math.sqrt(2))


def test_no_single_score_is_in_the_document(document):
    assert all("scores" not in one and "labels" not in one for one in document["cells"])
    assert len(document["cells"]) == 8


def test_the_tables_mark_the_best_and_name_what_failed(document):
    text = as_markdown(document)
    none = next(line for line in text.splitlines() if line.startswith("| fedavg |"))
    assert none == "| fedavg | **0.969 (0.938–1.000)** | failed |"
    assert "- fedprox, missing_modality, seed 1: `no-quorum`" in text
    assert f"standard error of {document['standard_error']['one']:.3f}" in text
    for kind in document["heterogeneity"].values():
        assert kind["text"] in text


def test_what_cannot_be_told_from_the_best_has_a_tilde(document):
    group = next(g for g in document["groups"] if (g["strategy"], g["heterogeneity"]) == ("fedprox", "none"))
    for told_apart, mark in ((True, ""), (False, " ~")):
        shown = marked(document, group | {"behind_best": group["behind_best"] | {"told_apart": told_apart}}, "auc")
        assert shown == cell(group, "auc") + mark


def test_the_page_is_one_file_with_a_plot_a_heterogeneity_and_the_same_each_time(document):
    page = as_page(document)
    assert page == as_page(document)
    assert page.count("<svg") == page.count('id="plot-') // 2 == 2
    assert "default-src &#x27;none&#x27;" in page
    assert "http://" not in page
    assert "<script" not in page


def test_a_sweep_of_failures_still_makes_its_tables(make_sweep):
    sweep = make_sweep(heterogeneity=("none",), strategies=("krum",))
    document = summarise(sweep, [record("krum", "none", 0)])
    assert document["standard_error"] is None
    assert "No federation could be tested." in as_markdown(document)
    assert "no federation finished" in as_page(document)
