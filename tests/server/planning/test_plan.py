"""The plan as a whole: its numbers against each other, what it says where sites keep counts, and its page."""

import json
import math
import re

import pytest
from site_counts import told
from toy_federation import STUDY

from fedescc.common import wire
from fedescc.common.counts import HIDDEN
from fedescc.common.errors import Refusal
from fedescc.common.federation import Federation
from fedescc.common.study import Study, read_study
from fedescc.common.yamlfile import parse_model
from fedescc.server.federate import LEAVES
from fedescc.server.planning import words
from fedescc.server.planning.budget import epsilon
from fedescc.server.planning.page import render_plan, write_plan
from fedescc.server.planning.parameters import clinical_parameters, planned_parameters
from fedescc.server.planning.plan import Assumptions, make_plan, require_sites

PLAN = "analysis: {comparators: [clinical], subgroups: {sex: {variable: sex}}}\ndisclosure:"
TOY = parse_model(STUDY.replace("disclosure:", PLAN), Study, "toy")
LEVELS = {("sex", "female"): (60, 25), ("sex", "male"): (60, 15), ("sex", "missing"): (0, 0)}


def sites(**more):
    found = {name: told(TOY, name, [(120, 40), (30, 10), (50, 17)], LEVELS) for name in ("c", "a", "b")}
    return {**found, **more}


def planned(counts=None, federation=None, study=TOY, **assumed):
    return make_plan(
        study, sites() if counts is None else counts, federation or Federation(), Assumptions(**assumed), LEAVES
    )


@pytest.mark.parametrize("auc", [0.5001, 0.999999999, math.nextafter(1.0, 0.0)])
def test_an_auc_at_the_end_of_what_may_be_assumed_ends_no_plan(auc):
    """Of three small sites the prediction interval then reaches over all AUCs."""
    found = planned(auc=auc)
    json.dumps(found, allow_nan=False)
    [at] = [one for one in found["precision"]["at"] if one["auc"] == auc]
    assert all(one["low"] < one["high"] for one in at["prediction"])


def test_every_number_of_the_plan_is_json_without_nan():
    text = json.dumps(planned(noise_multiplier=1.5), allow_nan=False)
    assert json.loads(text)["study_sha256"] == TOY.sha256


def test_the_order_of_sites_changes_nothing():
    assert planned(dict(sorted(sites().items()))) == planned(dict(sorted(sites().items(), reverse=True)))


def test_pooled_patients_are_the_sum_and_the_assumed_auc_is_among_those_shown():
    found = planned(auc=0.77)["precision"]
    assert (found["n"], found["n_pos"]) == (150, 51)
    assert [one["auc"] for one in found["at"]] == [0.65, 0.7, 0.75, 0.77, 0.8, 0.85, 0.9]
    assert all(len(one["sites"]) == 3 for one in found["at"])


def test_a_site_that_keeps_its_test_outcomes_is_left_out_and_named():
    kept = told(TOY, "d", [(60, 20), None, None], included=100)
    found = planned(sites(d=kept))
    assert found["precision"]["sites_left_out"] == ["d"]
    assert found["precision"]["n"] == 150
    assert found["development"]["n_train"] == 420
    assert found["sites"]["d"]["role"] == "sums_only"
    assert any("d" in line and "test patients" in line for line in words.remarks(found))


def test_where_nobody_tells_outcomes_the_plan_says_so_and_the_page_still_stands():
    kept = {"a": told(TOY, "a", [None, None, None], missing=[HIDDEN] * 3)}
    found = planned(kept, noise_multiplier=1.5)
    assert found["precision"]["reason"] == found["development"]["reason"] == "counts-not-told"
    assert found["privacy"]["sites"]["a"] == {"epsilon": None, "reason": "counts-not-told"}
    assert "kept / kept" in render_plan(found)
    assert planned({})["precision"]["n"] == 0


def test_events_per_parameter_and_rileys_minimum_of_the_clinical_model():
    found = planned()["development"]
    clinical = found["models"]["clinical"]["fitted"]
    assert clinical["parameters"] == clinical_parameters(TOY) == 1 + 2 + 2
    assert clinical["events_per_parameter"] == 120 / 5
    assert clinical["enough"] == (found["n_train"] >= clinical["needed"]["patients"])
    assert clinical["expected_shrinkage"] < 1


def test_a_required_covariate_has_no_flag_and_a_category_is_the_references():
    assert clinical_parameters(read_study("heart-disease")) == 11 + 18


def test_features_that_are_looked_at_count_beside_those_that_are_kept():
    found = planned_parameters(
        read_study("escc-pcr"), ["clinical", "features_clinical", "radiomics_clinical", "fusion"]
    )
    clinical = found["clinical"].fitted
    assert found["features_clinical"].fitted == found["radiomics_clinical"].fitted == clinical + 2 * 8
    assert found["features_clinical"].candidates == clinical + 2 * 36
    assert found["radiomics_clinical"].candidates == clinical + 2 * (36 + 90)
    assert "fusion" not in found


def test_the_deep_network_is_beyond_the_formula():
    found = planned_parameters(read_study("escc-pcr"), [])["federated"]
    assert found.fitted is None
    assert found.weights > 10_000


def test_a_linear_network_is_judged_as_a_regression():
    assert planned()["development"]["models"]["federated"]["fitted"]["parameters"] == 5
    assert not any("deep network" in line for line in words.remarks(planned()))


def test_without_noise_nothing_is_charged_and_the_plan_says_so():
    found = planned()
    assert found["privacy"] == {"differential_privacy": False, "sites": {}, "charged_beside_training": []}
    assert any("no differential privacy" in line for line in words.remarks(found))
    assert words.budget_rows(found) == []


def test_epsilon_is_each_sites_and_every_other_release_is_listed():
    settings = Federation.model_validate({"rounds": 3, "training": {"batch_size": 12, "local_epochs": 1}})
    found = planned(federation=settings, noise_multiplier=2.0, delta=1e-6)["privacy"]
    expected = epsilon(2.0, 0.1, 30, 1e-6)
    assert all((one["epsilon"], one["epsilon_rdp"]) == expected for one in found["sites"].values())
    beside = found["charged_beside_training"]
    for kind in set(LEAVES) - {wire.TRAIN, wire.PRETRAIN}:
        assert LEAVES[kind] in beside
    assert LEAVES[wire.TRAIN] not in beside
    assert any("validation patients" in text for text in beside)
    pretrained = Federation.model_validate({"pretraining": {"rounds": 2}})
    assert (
        LEAVES[wire.PRETRAIN]
        in planned(federation=pretrained, noise_multiplier=2.0)["privacy"]["charged_beside_training"]
    )


@pytest.mark.parametrize("auc", [0.5, 1.0, 0.2, math.nan, math.inf])
def test_an_auc_that_cannot_be_is_refused_even_without_patients(auc):
    with pytest.raises(Refusal, match="bad-assumption"):
        planned({}, auc=auc)


def test_two_files_of_one_site_are_refused():
    counts = sites()["a"]
    with pytest.raises(Refusal, match="repeated-site"):
        require_sites([("a", counts), ("b", counts), ("a", counts)])


def test_the_page_is_one_file_that_loads_nothing_and_shows_every_number(tmp_path):
    plan = planned(noise_multiplier=1.5)
    page = render_plan(plan)
    assert page == render_plan(plan)
    assert "<script" not in page
    assert not re.findall(r'(?:src|href)="(?!#)', page)
    assert "default-src &#x27;none&#x27;" in page
    for rows in (words.site_rows, words.width_rows, words.threshold_rows, words.development_rows, words.budget_rows):
        assert all(cell in page for row in rows(plan) for cell in row)
    assert write_plan(plan, tmp_path / "new" / "folder").read_text(encoding="utf-8") == page


def test_the_figure_stays_in_its_frame_and_falls_with_the_auc():
    page = render_plan(planned())
    lines = re.findall(r'<polyline points="([^"]+)"', page)
    assert len(lines) == 4
    for line in lines:
        points = [tuple(map(float, pair.split(","))) for pair in line.split()]
        assert all(46 <= x <= 462 and 34 <= y <= 300 for x, y in points)
        assert [y for _, y in points] == sorted(y for _, y in points)


def test_a_folder_that_cannot_be_made_is_refused(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(Refusal, match="unwritable-folder"):
        write_plan(planned(), tmp_path / "file" / "in")
