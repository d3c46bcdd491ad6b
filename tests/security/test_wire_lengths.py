"""Nothing per patient leaves: no list or array of any reply is as long as there are patients anywhere.

A whole run on tables and one on scans, with every comparator, subgroup and explanation, packed as they go on the wire.
The sites' numbers of patients are such that no honest length is among them; and the length of whatever is a list must
be settled by something else than patients, which is written down here beside it.
"""

from collections import defaultdict

import numpy as np
import pytest
from planned import with_plan
from scan_sites import scan_cohort, scan_site, scan_study
from toy_federation import Toy, make_cohort

from fedescc.client import app
from fedescc.client.app import make_client_app
from fedescc.common import wire
from fedescc.common.federation import Federation
from fedescc.common.schema import ALLOWED
from fedescc.common.wire import pack_reply
from fedescc.server.app import make_server_app
from fedescc.simulations.engines.local_grid import LocalGrid, run_in_process

EDGES = "bins of a histogram, whose edges the request fixes"
LEVELS = "levels of the plan's subgroups, some times bins"
COLUMNS = "columns of the study's covariates and image features"
MODELS = "models that the request names, or pairs of them"
SCANS = "levels of a scan's categories, or its numbers, at each time point"
# Why a list is as long as it is. A delta has the length of the weights that the request brought.
REASONS = {
    wire.STATISTICS: {
        "flow_by_rule": "rules of the study's eligibility",
        **dict.fromkeys(
            ("covariate_counts", "covariate_totals", "covariate_squares", "level_counts", "quantile_counts"), COLUMNS
        ),
        **dict.fromkeys(("landmark_counts", "landmark_totals"), "landmarks of intensity"),
    },
    wire.COUNTS: dict.fromkeys(ALLOWED[wire.COUNTS], "parts of the split, levels of the subgroups, or covariates"),
    wire.ACQUISITION: dict.fromkeys(ALLOWED[wire.ACQUISITION], SCANS),
    wire.SCREENING: dict.fromkeys(("counts", "totals", "squares", "products"), COLUMNS),
    wire.LOGISTIC: dict.fromkeys(("gradient", "hessian"), COLUMNS),
    wire.TRAIN: {**dict.fromkeys(("validation_negatives", "validation_positives"), EDGES), "delta": "the weights"},
    wire.PRETRAIN: {"delta": "the weights"},
    wire.TRAINING_SCORES: {"counts": EDGES},
    wire.VALIDATION: dict.fromkeys(("negatives", "positives"), EDGES),
    wire.SHORTCUT: dict.fromkeys(ALLOWED[wire.SHORTCUT], "columns of the embedding, or scanner vendors"),
    wire.TEST: dict.fromkeys(("negatives", "positives"), EDGES),
    wire.RECALIBRATION: dict.fromkeys(ALLOWED[wire.RECALIBRATION], "coefficients of two small models"),
    wire.REFERENCE: dict.fromkeys(ALLOWED[wire.REFERENCE], COLUMNS),
    wire.EXPLANATION: dict.fromkeys(ALLOWED[wire.EXPLANATION], "players of the study"),
    wire.SUBGROUPS: dict.fromkeys(ALLOWED[wire.SUBGROUPS], LEVELS),
    wire.COMPARISON: dict.fromkeys(("sums", "products", "differences", "standard_errors"), MODELS),
}
# A third of the tables' patients is more than any histogram's bins; the scans' parts (81, 27, 54; 87, 29, 58) are no
# honest list's length.
TABLES = {"north": 190, "south": 220, "west": 250}
SCANNED = {"east": 162, "coast": 174}


def lengths(content):
    """(key, length) of every list and array in a packed reply, and that of every text."""
    for record in content.values():
        for key, value in record.items():
            if hasattr(value, "numpy"):
                yield "delta", value.numpy().size
            elif isinstance(value, list):
                yield key, len(value)


def watched(monkeypatch):
    """Every packed reply that leaves: (message type, site, request's identity, key, length)."""
    seen, honest = [], app.release

    def release(reply, message, request, minimum):
        sent = honest(reply, message, request, minimum)
        question = message.metadata.message_type, repr(sorted(request.task.items()))
        seen.extend((*question, reply.site, key, length) for key, length in lengths(sent.content))
        return sent

    monkeypatch.setattr(app, "release", release)
    return seen


def patients(cohorts):
    """How many values a list of patients could have: of one site or all of them, whole or a part of the split."""
    parts = ("train", "validation", "test")
    sizes = [[len(cohort), *(len(cohort.rows(part)) for part in parts)] for cohort in cohorts.values()]
    return {size for one in sizes for size in one} | set(np.sum(sizes, axis=0).tolist())


def faults(seen, forbidden):
    """What is as long as there are patients, or has no reason for its length."""
    found = {f"{kind} {key}: {size} values of {site}" for kind, _, site, key, size in seen if size in forbidden}
    found |= {f"{kind} {key}: no reason" for kind, _, _, key, _ in seen if key not in REASONS.get(kind, {})}
    return sorted(found)


def run_tables(tmp_path):
    toy = Toy(tmp_path / "out")
    toy.cohorts = {name: make_cohort(name, n) for name, n in TABLES.items()}
    with_plan(toy, comparators=["clinical"], compared_with="clinical")
    results = toy.run(rounds=1, plan={"comparators": "clinical,fusion"})
    assert set(results["comparators"]) == {"clinical", "fusion"}
    return toy.cohorts


def run_scans(tmp_path):
    plan = {"subgroups": {"vendor": {"variable": "scanner_vendor"}, "age": {"variable": "age", "cuts": [60]}}}
    study = scan_study(analysis=plan)
    cohorts = {name: scan_cohort(seed, n) for seed, (name, n) in enumerate(SCANNED.items())}
    sites = {name: scan_site(name, study, cohort) for name, cohort in cohorts.items()}
    training = {"local_epochs": 1, "augmentation": {"flips": False, "shift_voxels": 0, "intensity": 0.0}}
    federation = Federation.model_validate({"rounds": 1, "training": training, "pretraining": {"rounds": 1}})
    config = {"study": study.to_yaml(), "federation": federation.to_yaml(), "out": str(tmp_path / "out")}
    config["comparators"] = "features_clinical"
    client = make_client_app(lambda context: sites[str(context.node_config["site"])])
    grid = LocalGrid(client, [{"site": name} for name in sites], config)
    run_in_process(make_server_app(), grid, config)
    return cohorts


@pytest.fixture(scope="module", params=[run_tables, run_scans])
def run(request, tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        seen = watched(patch)
        return seen, patients(request.param(tmp_path_factory.mktemp("run")))


def test_no_list_of_a_whole_run_is_as_long_as_there_are_patients(run):
    seen, forbidden = run
    assert faults(seen, forbidden) == []


def test_every_length_is_the_same_at_sites_of_different_sizes(run):
    seen, _ = run
    sizes = defaultdict(set)
    for kind, question, _, key, size in seen:
        sizes[kind, question, key].add(size)
    assert {key: found for key, found in sizes.items() if len(found) > 1} == {}


def test_every_kind_of_message_has_its_reasons():
    assert set(REASONS) == set(ALLOWED)
    for kind, reasons in REASONS.items():
        lists = {key for key, allowed in ALLOWED[kind].items() if allowed.length is not None}
        assert lists <= set(reasons), kind


def test_a_list_of_scores_would_be_found(run):
    """The check can fail: a reply with a score a test patient, and one with an undeclared list."""
    seen, forbidden = run
    most = max(forbidden)
    leak = (wire.TEST, "q", "north", "negatives", most)
    assert faults([*seen, leak], forbidden) == [f"evaluate.test negatives: {most} values of north"]
    assert faults([(wire.TEST, "q", "north", "scores", 3)], forbidden) == ["evaluate.test scores: no reason"]


def test_lengths_are_read_from_what_goes_on_the_wire():
    reply = wire.Reply("north", "s" * 64, {"n": 3, "negatives": [1, 2]}, np.zeros(5, np.float32))
    assert sorted(lengths(pack_reply(reply))) == [("delta", 5), ("negatives", 2)]
