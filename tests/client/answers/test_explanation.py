"""A site's answer about one model: sums and gates that may leave, one reference a model, pages that stay."""

import base64
import dataclasses
import hashlib
import json
import re
import stat

import numpy as np
import pytest
import torch
from blob_cohorts import cohort as blob_cohort
from blob_cohorts import encoding_of, imaging_study

from fedescc.client.answers.dispatch import answer
from fedescc.client.explanation import page
from fedescc.client.explanation.values import explain
from fedescc.client.learning.dataset import SiteTensors
from fedescc.client.local_site import LocalSite
from fedescc.client.site import ReleasePolicy
from fedescc.common import wire
from fedescc.common.arrays import flatten_parameters
from fedescc.common.errors import Refusal
from fedescc.common.network.model import build_model
from fedescc.common.schema import check_reply
from fedescc.common.wire import Request

__all__ = ["imaging_study"]

MINIMUM, PATIENTS = 5, 80
quiet = pytest.mark.filterwarnings("ignore::PendingDeprecationWarning", "ignore::FutureWarning")


@pytest.fixture
def make_site(imaging_study, tmp_path):
    """A site with scans, whose second scan of test patients 1 to ``missing`` is missing."""

    def build(missing=0, patients=PATIENTS, folder=True, **policy):
        keys = tuple(hashlib.sha256(str(row).encode()).hexdigest() for row in range(patients))
        cohort = dataclasses.replace(blob_cohort(patients), keys=keys)
        cohort.categorical["sex"][:] = np.arange(patients) // 2 % 2
        cohort.images[cohort.rows("test")[:missing], 1] = 0
        own = ReleasePolicy(min_class_count=MINIMUM, dominance_percent=0, **policy)
        return LocalSite("site-a", imaging_study, own, cohort, tmp_path if folder else None)

    return build


def requested(site, seed=1, **task):
    encoding = encoding_of(site.study, site.cohort)
    weights = flatten_parameters(build_model(site.study, len(encoding.columns), seed))
    full = {"run": "0123abcd", "encoding": encoding.model_dump(mode="json"), **task}
    return Request(site.study.sha256, full, weights)


def opened(site, **task):
    look = {"edges": [-1.0, 0.0, 1.0], "threshold": 0.0, "plan": site.study.analysis.sha256}
    answer(site, wire.TEST, requested(site, **{key: value for key, value in task.items() if key == "seed"}, **look))
    return answer(site, wire.EXPLANATION, requested(site, **task))


def test_sums_are_those_of_the_patients_values(make_site):
    site = make_site()
    sums = opened(site).sums
    encoding = encoding_of(site.study, site.cohort)
    tensors = SiteTensors.from_cohort(site.cohort, encoding, site.cohort.rows("test"))
    phi = explain(build_model(site.study, 5, 1), tensors, site.study, encoding).phi
    assert sums["n"] == 40
    assert sums["counts"] == [40] * 8
    assert sums["absolute"] == pytest.approx(np.abs(phi).sum(axis=0), abs=1e-5)
    assert sums["total"] == pytest.approx(phi.sum(axis=0), abs=1e-5)
    assert sums["squares"] == pytest.approx((phi**2).sum(axis=0), abs=1e-5)


def test_gates_come_with_them_and_the_schema_lets_all_pass(make_site):
    site = make_site()
    reply = opened(site)
    check_reply(wire.EXPLANATION, reply)
    assert 0 <= reply.sums["additivity_error"] < 1e-5
    assert reply.sums["repeat_error"] == 0
    assert -1 <= reply.sums["random_correlation"] < 1
    assert reply.sums["gate_counts"] == [16] * 8
    assert reply.sums["fixed_absolute"] != reply.sums["local_absolute"]
    # Clinical players know no baseline of scans, but a hidden layer lets them meet it.
    assert sum(reply.sums["rank_total"]) == pytest.approx(200 * 36)


def test_nothing_of_a_single_patient_leaves(make_site):
    site = make_site()
    reply = opened(site)
    assert {len(value) for value in reply.sums.values() if isinstance(value, list)} == {8}
    assert not any(key in json.dumps([reply.sums, reply.reasons]) for key in site.cohort.keys)


@pytest.mark.parametrize(("missing", "shown"), [(4, False), (5, True), (36, False)])
def test_players_that_few_have_or_lack_are_not_shown(make_site, missing, shown):
    sums = opened(make_site(missing=missing)).sums
    post = [3, 4, 5]
    assert sums["counts"] == [40, 40, 40, *([35] * 3 if shown else [0] * 3), 40, 40]
    assert np.array(sums["absolute"])[post].all() == shown
    if not shown:
        for key in ("absolute", "total", "squares", "rank_total", "rank_squares", "gate_counts", "local_absolute"):
            assert not np.array(sums[key])[post].any(), key


def test_a_rare_category_counts_as_the_usual_one(make_site):
    site = make_site()
    sex = site.cohort.categorical["sex"]
    sex[:] = 1
    with_none = opened(site).sums
    rare = make_site(folder=False)
    rare.cohort.categorical["sex"][:] = 1
    rare.cohort.categorical["sex"][rare.cohort.rows("test")[:3]] = 0
    # The model's own encoding would be another one; what is asked is the same.
    request = requested(site)
    look = {"edges": [-1.0, 0.0, 1.0], "threshold": 0.0, "plan": site.study.analysis.sha256}
    answer(rare, wire.TEST, dataclasses.replace(request, task=request.task | look))
    assert answer(rare, wire.EXPLANATION, request).sums["absolute"] == pytest.approx(with_none["absolute"])


def test_too_few_patients_give_no_sums(make_site):
    reply = opened(make_site(patients=16))
    assert reply.sums == {}
    assert reply.reasons == {"counts": "class-count-below-minimum"}


def test_a_model_is_explained_under_one_reference(make_site):
    site = make_site()
    first = opened(site, reference=[0.1] * 5)
    assert answer(site, wire.EXPLANATION, requested(site, reference=[0.1] * 5)) is first
    for reference in ([0.1, 0.1, 0.1, 0.1, 0.2], []):
        with pytest.raises(Refusal, match="another-reference"):
            answer(site, wire.EXPLANATION, requested(site, reference=reference))


def test_a_restart_gives_no_other_reference(make_site):
    first = opened(make_site(), reference=[0.1] * 5)
    again = make_site()
    with pytest.raises(Refusal, match="another-reference"):
        answer(again, wire.EXPLANATION, requested(again, reference=[0.2] * 5))
    assert answer(again, wire.EXPLANATION, requested(again, reference=[0.1] * 5)) == first


def test_a_reference_that_does_not_fit_binds_nobody(make_site):
    site = make_site()
    with pytest.raises(Refusal, match="malformed-message"):
        opened(site, reference=[0.1] * 4)
    assert answer(site, wire.EXPLANATION, requested(site, reference=[0.1] * 5)).sums["n"] == 40


@pytest.mark.parametrize(
    ("task", "code"),
    [
        ({"reference": [0.0] * 4}, "malformed-message"),
        ({"reference": ["0"] * 5}, "malformed-message"),
        ({"players": "patients"}, "malformed-message"),
        ({"players": "columns"}, "no-columns"),
    ],
)
def test_what_cannot_be_explained_is_refused(make_site, task, code):
    site = make_site()
    with pytest.raises(Refusal, match=code):
        opened(site, **task)


def test_a_model_that_has_not_looked_is_not_explained(make_site):
    site = make_site()
    with pytest.raises(Refusal, match="test-not-opened"):
        answer(site, wire.EXPLANATION, requested(site))


def test_sums_of_columns_are_those_of_the_training_patients(make_site):
    site = make_site(small_newton="plain")
    reply = answer(site, wire.REFERENCE, requested(site))
    check_reply(wire.REFERENCE, reply)
    encoding, rows = encoding_of(site.study, site.cohort), site.cohort.rows("train")
    columns = encoding.encode(site.cohort.numeric, site.cohort.categorical, rows)
    assert reply.sums["n"] == 40
    assert reply.sums["totals"] == pytest.approx(columns.sum(axis=0), abs=1e-4)
    few = answer(make_site(patients=8), wire.REFERENCE, requested(site))
    assert few.reasons == {"n": "class-count-below-minimum"}


def test_no_page_is_written_unless_the_hospital_asks(make_site, tmp_path):
    assert opened(make_site()).sums
    assert not (tmp_path / page.FOLDER).exists()


@quiet
def test_a_page_stays_at_the_site_and_names_nobody(make_site, tmp_path, monkeypatch):
    monkeypatch.setattr(page, "chosen", lambda labels, logits: [7, 3])
    site = make_site(explanation_pages="local")
    asked = make_site().policy.explanation_pages
    reply = opened(site)
    (path,) = (tmp_path / page.FOLDER).rglob("*.html")
    assert path.relative_to(tmp_path).as_posix() == "explanations/0123abcd/split-network.html"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert {stat.S_IMODE(folder.stat().st_mode) for folder in (path.parent, path.parent.parent)} == {0o700}
    text = path.read_text()
    pictures = re.findall(r'src="data:image/png;base64,([^"]+)"', text)
    assert len(pictures) == 1 + 2 * 2
    assert all(base64.b64decode(picture).startswith(b"\x89PNG") for picture in pictures)
    assert re.findall(r"Patient (\d+), key ([0-9a-f]+)", text) == [
        (str(number), site.cohort.keys[site.cohort.rows("test")[row]][:8]) for number, row in ((1, 7), (2, 3))
    ]
    bare = re.sub(r"base64,[^\"]+", "", text)
    assert not re.search(r"https?:|<script|src=\"(?!data:)|@import|url\(", bare)
    assert asked == "never"
    check_reply(wire.EXPLANATION, reply)
    assert not any(picture[:40] in repr(reply) for picture in pictures)


@quiet
def test_the_page_changes_no_reply_and_its_failure_neither(make_site, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(page, "chosen", lambda labels, logits: [])
    plain, with_page = opened(make_site(folder=False)), opened(make_site(explanation_pages="local", folder=False))
    assert with_page == plain
    monkeypatch.setattr(page, "beeswarm", lambda found, data: 1 / 0)
    broken = opened(make_site(explanation_pages="local"))
    assert broken == plain
    assert not list((tmp_path / page.FOLDER).rglob("*.html"))
    assert "not written: ZeroDivisionError" in capsys.readouterr().err


@quiet
def test_a_page_that_takes_too_long_ends(make_site, tmp_path, monkeypatch):
    monkeypatch.setattr(page, "MOST_SECONDS", -1.0)
    opened(make_site(explanation_pages="local"))
    (path,) = (tmp_path / page.FOLDER).rglob("*.html")
    text = path.read_text()
    assert "33 more patients are left out" in text
    assert text.count("<img") == 1


def test_the_page_shows_the_largest_scores_of_each_class():
    labels = np.array([0, 1, 0, 1, 0, 1], np.int8)
    logits = np.array([5.0, 1, 4, 3, 6, 2])
    assert page.chosen(labels, logits, most=2) == [3, 5, 4, 0]


def test_explaining_leaves_torchs_random_state_alone(make_site):
    torch.manual_seed(3)
    expected = torch.rand(1)
    torch.manual_seed(3)
    opened(make_site())
    assert torch.equal(torch.rand(1), expected)
