"""Replies about training patients are believed only if patients could have given them; a bad one costs its own site."""

import dataclasses

import numpy as np
import pytest
from flwr.app import Message

from fedescc.client import app
from fedescc.client.answers.statistics import covariate_values
from fedescc.common import wire
from fedescc.common.arrays import load_safetensors
from fedescc.common.disclosure.groups import Rule
from fedescc.common.errors import Refusal
from fedescc.common.study import Study
from fedescc.common.tabular.covariates import read_encoding
from fedescc.common.wire import pack_reply
from fedescc.server.covariate_replies import covariate_sums

BAD = "site-b"


@pytest.fixture
def study(toy):
    document = toy.study.model_dump(mode="json")
    document["covariates"]["marker"]["transform"] = "quantile"
    return Study.model_validate(document)


@pytest.fixture
def sums(toy, study):
    cohort = toy.cohorts["site-a"]
    rows = cohort.rows("train")
    return {**covariate_values(study, cohort, rows, [], Rule(3)), "n_train": len(rows)}


def cells(*counts, first=0):
    """A histogram with these cells from bin ``first`` on."""
    made = np.zeros(256, int)
    made[first : first + len(counts)] = counts
    return made.tolist()


def with_cells(sums, histogram):
    return {**sums, "quantile_counts": histogram}


def test_a_good_reply_gives_the_sums_it_holds(study, sums):
    parsed = covariate_sums(study, sums, [])
    assert parsed.table[0].tolist() == sums["covariate_counts"]
    assert parsed.levels["sex"].tolist() == sums["level_counts"]
    assert parsed.runs["marker"].total() == sums["covariate_counts"][1]
    assert parsed.landmarks is None


def hostile(sums):
    n = sums["covariate_counts"][1]
    return {
        "a negative cell": with_cells(sums, cells(-3, n + 3, first=254)),
        "a cell below the study's minimum": with_cells(sums, cells(2, n - 2, first=254)),
        "more patients than have a value": with_cells(sums, cells(3, n, first=254)),
        "fewer patients than have a value": with_cells(sums, cells(3, n - 6, first=254)),
        "nobody": with_cells(sums, cells()),
        "the greatest value's bin": with_cells(sums, cells(3, n - 3, first=100)),
        "too short": with_cells(sums, cells(n, first=255)[1:]),
        "too long": with_cells(sums, [0, *cells(n, first=255)]),
        "missing": {key: value for key, value in sums.items() if key != "quantile_counts"},
        "no list": with_cells(sums, n),
        "more patients of a category than train": {**sums, "level_counts": [sums["n_train"] + 1, 0]},
        "more patients of all categories than train": {**sums, "level_counts": [sums["n_train"], 3]},
        "a small category": {**sums, "level_counts": [40, 1]},
        "a negative category": {**sums, "level_counts": [40, -3]},
        "a category too few": {**sums, "level_counts": [40]},
        "more values than patients": {**sums, "n_train": sums["n_train"] - 1},
        "values of too few patients to be told": {key: value for key, value in sums.items() if key != "n_train"},
        "moments of a small group": {
            **sums, "covariate_counts": [2, n], "covariate_totals": [0, sums["covariate_totals"][1]],
            "covariate_squares": [0, sums["covariate_squares"][1]],
        },
    }  # fmt: skip


def test_every_hostile_reply_is_refused_as_malformed(study, sums):
    for what, changed in hostile(sums).items():
        with pytest.raises(Refusal) as refusal:
            covariate_sums(study, changed, [])
        assert refusal.value.code == "malformed-message", what


def imaging_study(study):
    document = study.model_dump(mode="json") | {"prediction_time": "second_ct", "model": {"kind": "paired_cnn"}}
    grid = {"size_zyx": [16] * 3, "spacing_zyx_mm": [3] * 3, "window_hu": [-160, 340]}
    document["imaging"] = {"time_points": ["pre", "post"], "grid": grid, "harmonisation": "landmarks"}
    return Study.model_validate(document)


def test_landmarks_are_asked_of_a_study_that_harmonises(study, sums):
    harmonising, unit = imaging_study(study), 1 << 20
    good = {**sums, "landmark_counts": [10, 0], "landmark_totals": [unit, 7 * unit, 0, 0]}
    landmarks = covariate_sums(harmonising, good, []).landmarks
    assert landmarks is not None
    assert landmarks.scans.tolist() == [10, 0]
    assert landmarks.totals.tolist() == [[unit, 7 * unit], [0, 0]]
    for changes in (
        {"landmark_counts": [10]},
        {"landmark_counts": [sums["n_train"] + 1, 0]},
        {"landmark_counts": [2, 0]},
        {"landmark_totals": [10 * unit + 1, 0, 0, 0]},
        {"landmark_totals": [-1, 0, 0, 0]},
        {"landmark_totals": [0, 0, 1, 0]},
        {"landmark_totals": [0, 0]},
    ):
        with pytest.raises(Refusal, match="malformed-message"):
            covariate_sums(harmonising, good | changes, [])
    with pytest.raises(Refusal, match="malformed-message"):
        covariate_sums(harmonising, sums, [])


@pytest.mark.parametrize("key", ["quantile_counts", "level_counts"])
def test_a_hostile_histogram_costs_its_own_site_alone(toy, study, monkeypatch, key):
    toy.study, honest = study, app.release

    def release(reply, message, request, minimum):
        if reply.site != BAD or message.metadata.message_type != wire.STATISTICS:
            return honest(reply, message, request, minimum)
        changed = [number + 1 for number in reply.sums[key]]
        return Message(pack_reply(dataclasses.replace(reply, sums=reply.sums | {key: changed})), reply_to=message)

    monkeypatch.setattr(app, "release", release)
    results = toy.run(rounds=1)
    assert list(results["refused_before_training"].values()) == ["malformed-message"]
    assert len(results["sites_lost"]) == 1
    assert encoding_of(toy).columns == (
        "age",
        "age_missing",
        "marker",
        "marker_missing",
        "sex=female",
        "sex=male",
        "sex_missing",
    )


def encoding_of(toy):
    return read_encoding(load_safetensors(toy.out / "model.safetensors")[1]["encoding"])


def test_the_model_file_carries_ranks_that_no_order_of_answers_changes(toy, study):
    toy.study, made = study, []
    for shuffle in (None, 1, 2):
        toy.run(rounds=1, shuffle=shuffle)
        made.append(encoding_of(toy))
    assert made[0] == made[1] == made[2]
    marker = made[0].only(["marker"])
    assert marker.covariates[0].type == "quantile"
    pooled = np.concatenate([c.numeric["marker"][c.rows("train")] for c in toy.cohorts.values()])
    low, middle, high = marker.encode({"marker": np.nanquantile(pooled, [0.1, 0.5, 0.9])}, {})[:, 0]
    assert middle == pytest.approx(0, abs=0.1)
    assert (low, high) == (pytest.approx(-1.28, abs=0.15), pytest.approx(1.28, abs=0.15))
