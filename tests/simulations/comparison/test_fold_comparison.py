"""Comparators by name and by fold: which there are, that they are kept, and how folds become one."""

import pytest

from fedescc.client.site import ReleasePolicy
from fedescc.common.errors import Refusal
from fedescc.common.federation import Federation
from fedescc.common.study import read_study
from fedescc.server.fold_results import fold_files
from fedescc.server.results import read_json
from fedescc.simulations.comparison import fold_comparison as comparison
from fedescc.simulations.comparison.fold_comparison import (
    COMPARATORS,
    FoldComparison,
    pool_comparators,
    read_comparators,
)

FEDERATION = Federation.model_validate(
    {"rounds": 2, "training": {"optimizer": "sgd", "learning_rate": 0.05, "class_weight": "none"}}
)
IN_SIMULATION = ["local_only", "ensemble", "centralised", "local_clinical", "centralised_clinical"]


@pytest.fixture
def fold(toy):
    plain = ReleasePolicy(min_class_count=3, score_histogram="plain", small_newton="plain")
    toy.policies = dict.fromkeys(toy.cohorts, plain)
    toy.run(rounds=2, plan={"comparators": "clinical"})
    (path,) = fold_files(toy.out)
    return FoldComparison(toy.study, FEDERATION, toy.cohorts, read_json(path), path.parent)


def test_every_comparator_of_tables_is_there_and_judged_on_the_federations_patients(fold):
    entries = fold.all_entries(IN_SIMULATION)
    assert list(entries) == ["clinical", *IN_SIMULATION]
    n = fold.results["final"]["pooled"]["n"]
    for name, entry in entries.items():
        assert entry["pooled"]["n"] == n, name
        assert set(entry["sites"]) == set(fold.cohorts), name
        assert entry["pooled"]["auc"] > 0.6, name
        assert entry["versus_federated"]["p"] is not None, name


def test_what_the_federation_fitted_and_scikit_learns_pooled_fit_score_alike(fold):
    entries = fold.all_entries(["centralised_clinical"])
    assert entries["clinical"]["versus_federated"] == pytest.approx(entries["centralised_clinical"]["versus_federated"])


def test_a_site_that_missed_the_last_round_has_still_been_learned_from(fold):
    rounds = fold.results["rounds"]
    missed = [*rounds[:-1], rounds[-1] | {"sites": ["site-a", "site-c", "site-d"]}]
    other = FoldComparison(fold.study, FEDERATION, fold.cohorts, {**fold.results, "rounds": missed}, fold.folder)
    assert list(other.trained) == ["site-a", "site-b", "site-c", "site-d"]
    never = [entry | {"sites": ["site-a", "site-c"]} for entry in rounds]
    other = FoldComparison(fold.study, FEDERATION, fold.cohorts, {**fold.results, "rounds": never}, fold.folder)
    assert list(other.trained) == ["site-a", "site-c"]


def test_a_comparator_is_fitted_once(fold, monkeypatch):
    first = fold.entries(["local_only", "centralised"])
    monkeypatch.setattr(comparison, "fit", None)
    again = FoldComparison(fold.study, fold.federation, fold.cohorts, fold.results, fold.folder)
    assert again.entries(["centralised", "local_only"]) == {name: first[name] for name in ("centralised", "local_only")}
    with pytest.raises(TypeError):
        again.entries(["ensemble"])


def test_a_federation_of_personal_models_is_not_paired(fold):
    ditto = Federation.model_validate(FEDERATION.model_dump() | {"personalisation": {"kind": "ditto"}})
    personal = FoldComparison(fold.study, ditto, fold.cohorts, fold.results, fold.folder)
    assert "versus_federated" not in personal.entries(["centralised"])["centralised"]
    assert personal.versus() == {}


def test_a_held_out_site_has_no_model_of_its_own(toy):
    toy.run(rounds=1, plan={"mode": "loso"})
    path = fold_files(toy.out)[0]
    results = read_json(path)
    fold = FoldComparison(toy.study, FEDERATION, toy.cohorts, results, path.parent)
    assert fold.entries(["local_only", "local_clinical"]) == {
        "local_only": {"unavailable": "no-local-model"},
        "local_clinical": {"unavailable": "no-local-model"},
    }
    assert pool_comparators([fold.entries(["local_only"])] * 2) == {}


def test_folds_become_one_by_patients(fold):
    entries = fold.all_entries(["centralised"])
    pooled = pool_comparators([entries, entries])
    assert pooled["centralised"]["pooled"]["n"] == 2 * entries["centralised"]["pooled"]["n"]
    assert pooled["centralised"]["pooled"]["auc"] == pytest.approx(entries["centralised"]["pooled"]["auc"])
    difference = entries["clinical"]["versus_federated"]["difference"]
    assert pooled["clinical"]["versus_federated"]["difference"] == pytest.approx(difference)
    assert pool_comparators([entries]) == entries


def test_comparators_by_name():
    escc, heart = read_study("escc-pcr"), read_study("heart-disease")
    assert read_comparators(None, escc) == ("local_only", "centralised", "clinical")
    assert read_comparators(None, heart) == ("local_only", "centralised")
    assert read_comparators("all", escc) == COMPARATORS
    assert set(read_comparators("all", heart)) == {"clinical", *IN_SIMULATION}
    assert read_comparators("none", escc) == ()
    assert read_comparators("fusion, clinical,fusion", escc) == ("fusion", "clinical")


@pytest.mark.parametrize(
    ("text", "study"), [("magic", "escc-pcr"), ("clinical,,", "escc-pcr"), ("fusion", "heart-disease")]
)
def test_a_comparator_that_there_is_not_is_refused(text, study):
    with pytest.raises(Refusal, match="unknown-comparator"):
        read_comparators(text, read_study(study))
