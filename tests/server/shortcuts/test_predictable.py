"""Whether embeddings tell the site: a model that encodes the scanner is found, one that cannot see it is at chance."""

import dataclasses
import json

import numpy as np
import pytest
from flwr.app import Message
from scan_sites import scan_cohort, scan_study
from scanner_sites import ask_sites, scanner_cohort, task_of
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis

from fedescc.client import app as client_app
from fedescc.client.learning.dataset import SiteTensors
from fedescc.client.learning.embed import predict_embeddings
from fedescc.common import wire
from fedescc.common.arrays import flatten_parameters
from fedescc.common.errors import Refusal
from fedescc.common.fold import KFold
from fedescc.common.network.model import build_model
from fedescc.common.tabular.covariates import Encoding
from fedescc.common.wire import pack_reply
from fedescc.server.shortcuts.predictable import predictable
from fedescc.server.shortcuts.shortcuts import shortcuts

BRIGHTNESS = {"a": 0.0, "b": 0.15, "c": 0.3}
WIDE = {"kind": "paired_cnn", "widths": [4, 8], "embedding": 24, "hidden": 4, "dropout": 0.0}


def planted(patients=60, vendors=None):
    """Sites whose scans differ in brightness, which a model with random weights passes on."""
    vendors = vendors or {"a": "siemens", "b": "siemens", "c": "ge"}
    return {
        name: scanner_cohort(place, patients, shift, vendors[name])
        for place, (name, shift) in enumerate(BRIGHTNESS.items())
    }


def alike(patients=60):
    return {name: scanner_cohort(place, patients) for place, name in enumerate(BRIGHTNESS)}


def embedded(cohorts, split, study=None):
    model = build_model(study or scan_study(), 0, seed=3)
    parts = {
        name: predict_embeddings(model, SiteTensors.from_cohort(one, Encoding(covariates=()), one.rows(split)))
        for name, one in cohorts.items()
    }
    return np.concatenate(list(parts.values())), np.repeat(list(parts), [len(rows) for rows in parts.values()])


def test_a_model_that_encodes_the_scanner_is_found():
    found = ask_sites(planted(), predictable)
    assert found["basis"] == "all-dimensions"
    assert found["columns"] == 12
    for kind in ("site", "vendor"):
        assert found[kind]["bounds"][0] > 0.85
        assert found[kind]["told_apart"]
    assert found["site"]["chance"] == pytest.approx(1 / 3)
    assert found["vendor"]["chance"] == 0.5
    assert set(found["vendor"]["classes"]) == {"siemens", "ge"}
    json.dumps(found, allow_nan=False)


def test_a_model_is_at_chance_where_scanners_are_alike():
    found = ask_sites(alike(120), predictable)["site"]
    assert not found["told_apart"]
    assert found["ci95"][0] < 1 / 3 < found["ci95"][1]


def test_a_blind_model_is_exactly_at_chance_whatever_the_scanners():
    found = ask_sites(planted(), predictable, weights=lambda model: np.zeros_like(flatten_parameters(model)))["site"]
    assert found["accuracy"] == pytest.approx(1 / 3)
    assert not found["told_apart"]


def test_more_dimensions_than_patients_leave_the_directions_of_the_means():
    found = ask_sites(planted(), predictable, study=scan_study(model=WIDE))
    assert (found["embedding"], found["basis"]) == (48, "directions-of-class-means")
    assert found["columns"] == 2
    assert found["site"]["told_apart"]
    few = ask_sites(alike(120), predictable, study=scan_study(model=WIDE | {"embedding": 40}))
    assert few["basis"] == "directions-of-class-means"
    assert not few["site"]["told_apart"]


def test_the_accuracy_is_that_of_a_discriminant_of_the_patients_themselves():
    """Scikit-learn's, shrunk alike on dimensions standardised alike, over equal sites; a minimum of 1 hides nothing."""
    cohorts = {name: scanner_cohort(place, 120, 0.03 * place) for place, name in enumerate("abc")}
    study = scan_study(disclosure={"min_class_count": 1})
    found = ask_sites(cohorts, predictable, study=study, minimum=1)["site"]
    (train, sites), (new, truth) = embedded(cohorts, "train"), embedded(cohorts, "validation")
    within = np.concatenate([train[sites == name] - train[sites == name].mean(axis=0) for name in "abc"])
    rule = LinearDiscriminantAnalysis(solver="eigen", priors=[1 / 3] * 3)
    z, fresh = (train - train.mean(axis=0)) / within.std(axis=0), (new - train.mean(axis=0)) / within.std(axis=0)
    pooled = np.cov((within / within.std(axis=0)).T, bias=True)
    ridged = 0.9 * pooled + 0.1 * np.trace(pooled) / len(pooled) * np.eye(len(pooled))
    # Whitened by the ridged covariance, the nearest mean is the discriminant's class.
    white = np.linalg.inv(np.linalg.cholesky(ridged)).T
    means = np.stack([(z[sites == name] @ white).mean(axis=0) for name in "abc"])
    nearest = np.array(list("abc"))[(((fresh @ white)[:, None] - means[None]) ** 2).sum(axis=2).argmin(axis=1)]
    expected = [float(np.mean(nearest[truth == name] == name)) for name in "abc"]
    assert [found["classes"][name]["accuracy"] for name in "abc"] == expected
    unshrunk = rule.fit(z, sites).predict(fresh)
    assert found["accuracy"] == pytest.approx(np.mean([np.mean(unshrunk[truth == n] == n) for n in "abc"]), abs=0.15)


def test_the_answer_does_not_depend_on_the_order_in_which_sites_answer():
    one, two = (ask_sites(planted(), predictable, shuffle=shuffle) for shuffle in (1, 2))
    assert json.dumps(one) == json.dumps(two)


def test_a_site_with_several_vendors_gives_each_its_say():
    vendors = {"a": "siemens", "b": "ge", "c": np.array(["siemens"] * 6 + ["ge"] * 6)}
    cohorts = planted(240, {name: np.resize(one, 240) for name, one in vendors.items()})
    found = ask_sites(cohorts, predictable)["vendor"]
    assert found["classes"]["siemens"]["n"] == found["classes"]["ge"]["n"] == 60


def test_one_vendor_everywhere_one_site_or_no_scans_are_null_with_the_reason(toy):
    one_vendor = ask_sites(alike(), predictable)["vendor"]
    assert one_vendor == {"accuracy": None, "suppressed": "fewer-than-two-vendors"}
    alone = ask_sites({"a": scanner_cohort(0, 60)}, predictable)
    assert alone["site"]["suppressed"] == "fewer-than-two-sites"
    facts_missing = ask_sites({name: scan_cohort(i, 60) for i, name in enumerate("ab")}, predictable)
    assert facts_missing["vendor"]["suppressed"] == "fewer-than-two-vendors"
    assert "classes" in facts_missing["site"]


def test_encoders_of_a_sites_own_and_k_folds_are_not_asked():
    own = task_of(personalisation={"kind": "local_norm"})
    found = ask_sites(planted(), predictable, task=own)
    assert found["site"]["suppressed"] == "encoder-differs-by-site"
    k_folds = task_of() | {"fold": KFold(index=0, of=2).model_dump()}
    found = ask_sites(planted(), shortcuts, task=k_folds)
    assert found["embeddings"]["site"]["suppressed"] == found["drift"]["suppressed"] == "not-in-k-folds"


def test_small_sites_stay_out_and_are_named():
    cohorts = planted() | {"tiny": scanner_cohort(7, 4)}
    found = ask_sites(cohorts, predictable)
    assert found["refused"] == {"tiny": "class-count-below-minimum"}
    assert set(found["site"]["classes"]) == {"a", "b", "c"}


def test_a_site_that_trains_but_cannot_be_judged_is_named():
    cohorts = planted()
    cohorts["c"] = dataclasses.replace(cohorts["c"], split=np.resize(["train", "test"], 60))
    found = ask_sites(cohorts, predictable)["site"]
    assert found["not_judged"] == ["c"]
    assert found["chance"] == 0.5


def test_a_rule_that_says_the_same_of_everybody_is_no_better_than_chance_where_one_site_alone_is_judged():
    """Blind embeddings all fall to the first site, which is then right of all its own patients."""
    cohorts = planted()
    for name in "bc":
        cohorts[name] = dataclasses.replace(cohorts[name], split=np.resize(["train", "test"], 60))
    blind = ask_sites(cohorts, predictable, weights=lambda model: np.zeros_like(flatten_parameters(model)))["site"]
    assert blind["accuracy"] == 1.0
    assert blind["chance"] == 1.0
    assert not blind["told_apart"]


def test_who_refuses_a_question_about_shortcuts_is_named_there_and_not_lost_to_the_evaluation(monkeypatch):
    release = client_app.release

    def refuse(reply, message, request, minimum):
        if reply.site == "b":
            raise Refusal("no-power", "x", "y")
        return release(reply, message, request, minimum)

    monkeypatch.setattr(client_app, "release", refuse)
    found, refused = ask_sites(planted(), lambda evaluator: (shortcuts(evaluator), evaluator.refused))
    assert found["drift"]["refused"] == found["embeddings"]["refused"] == {"b": "no-power"}
    assert refused == {}


@pytest.mark.parametrize(
    "change",
    [
        {"n": 1},
        {"n": 10**6, "totals": [1e12] * 12},
        {"squares": [0.0] * 12},
        {"totals": [0.0] * 3},
        {"products": [0.0]},
        {"vendor_counts": [0] * 8},
        {"right": 10**6},
        {"sneaked": 1},
        {"totals": [float("nan")] * 12},
    ],
)
def test_a_hostile_site_costs_itself_alone(monkeypatch, change):
    release = client_app.release

    def forge(reply, message, request, minimum):
        if reply.site == "b" and set(change) & {*reply.sums, "sneaked"}:
            return Message(pack_reply(dataclasses.replace(reply, sums=reply.sums | change)), reply_to=message)
        return release(reply, message, request, minimum)

    monkeypatch.setattr(client_app, "release", forge)
    found = ask_sites(planted(), predictable)
    assert found["refused"] == {"b": "malformed-message"}
    assert set(found["site"]["classes"]) == {"a", "c"}
    assert found["site"]["told_apart"]


def test_no_array_that_leaves_has_a_patient_in_each_place(monkeypatch):
    """Patients of a site are as many as no sum is long: 42 of 84 train."""
    lengths, release = set(), client_app.release

    def watch(reply, message, request, minimum):
        if message.metadata.message_type in (wire.SHORTCUT, wire.ACQUISITION):
            lengths.update(len(value) for value in reply.sums.values() if isinstance(value, list))
        return release(reply, message, request, minimum)

    monkeypatch.setattr(client_app, "release", watch)
    cohorts = planted(84)
    ask_sites(cohorts, shortcuts)
    sizes = {len(one.rows(split)) for one in cohorts.values() for split in ("train", "validation", "test")}
    assert lengths
    assert not lengths & (sizes | {84})
