"""Results show no small confusion cell of one site, neither itself nor by subtraction."""

import copy
import itertools
import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fedescc.common.statistics.metrics import (
    METRIC_KEYS,
    PROPORTIONS,
    EvaluationSums,
    metrics_record,
    suppressed_record,
)
from fedescc.common.statistics.roc import Estimate
from fedescc.common.sums import add_up
from fedescc.server.evaluation.pooling import pool_finals
from fedescc.server.evaluation.publication import (
    PROTECTS_ANOTHER,
    SMALL_CELLS,
    TOO_FEW_SITES,
    published,
    published_results,
)

Cells = tuple[int, int, int, int]
LARGE = {"a": (30, 20, 60, 10), "b": (20, 10, 50, 8), "c": (9, 7, 30, 6), "d": (12, 9, 40, 7)}


def sums(cells: Cells) -> EvaluationSums:
    tp, fp, tn, fn = cells
    return EvaluationSums(tp + fp + tn + fn, tp + fn, tp, fp, tn, fn, 0.1 * sum(cells), 0.2 * sum(cells))


def record(*parts: Cells) -> dict:
    estimate, interval = Estimate(0.75), Estimate((0.6, 0.85))
    return metrics_record(
        add_up(map(sums, parts)),
        threshold=0.4,
        auc=estimate,
        auc_ci95=interval,
        calibration_intercept=Estimate(0.0),
        calibration_slope=Estimate(1.0),
    )


def final(sites: dict[str, Cells], silent: tuple[str, ...] = ()) -> dict:
    curve = {"fpr": [0, 1], "tpr": [0, 1]}
    return {
        "pooled": record(*sites.values()),
        "sites": {name: record(cells) for name, cells in sites.items()}
        | {name: suppressed_record("class-count-below-minimum", 0.4) for name in silent},
        "pooled_sites": sorted(sites),
        "roc": dict.fromkeys((*sites, "pooled"), curve),
        "partial_auc": {"auc": 0.6, "max_fpr": 0.2},
        "average_precision": 0.5,
        "curves": dict.fromkeys(("precision_recall", "calibration", "decision"), curve),
    }


def hidden(shown: dict) -> set[str]:
    """Sites with METRICS but without those that tell cells."""
    return {name for name, one in shown["sites"].items() if one["n"] is not None and one["accuracy"] is None}


def test_nothing_changes_where_no_cell_is_small() -> None:
    assert published(final(LARGE, ("e",)), 5) == final(LARGE, ("e",))


def test_a_site_with_a_small_cell_is_hidden_and_the_smallest_other_with_it() -> None:
    shown = published(final(LARGE | {"b": (26, 10, 50, 2)}), 5)
    assert hidden(shown) == {"b", "c"}
    b, c = shown["sites"]["b"], shown["sites"]["c"]
    assert {b["suppressed"][key] for key in PROPORTIONS} == {SMALL_CELLS}
    assert {c["suppressed"][key] for key in PROPORTIONS} == {PROTECTS_ANOTHER}
    assert b["ci95"] == dict.fromkeys(PROPORTIONS)
    assert set(shown["roc"]) == {"a", "d", "pooled"}
    assert shown["pooled"] == final(LARGE | {"b": (26, 10, 50, 2)})["pooled"]


def test_patients_auc_brier_and_calibration_of_a_hidden_site_stay() -> None:
    before = final(LARGE | {"b": (26, 10, 50, 2)})["sites"]["b"]
    after = published(final(LARGE | {"b": (26, 10, 50, 2)}), 5)["sites"]["b"]
    for key in set(METRIC_KEYS) - set(PROPORTIONS):
        assert after[key] == before[key]


@pytest.mark.parametrize("names", ["a", "ab"])
def test_a_total_of_fewer_than_three_sites_is_hidden_with_the_site_that_it_would_tell(names: str) -> None:
    sites = {name: LARGE[name] for name in names} | {"a": (30, 2, 60, 10)}
    shown = published(final(sites), 5)
    assert hidden(shown) == set(names)
    assert {shown["pooled"]["suppressed"][key] for key in PROPORTIONS} == {TOO_FEW_SITES}
    assert shown["pooled"]["auc"] == 0.75
    assert shown["roc"] == {}
    assert shown["average_precision"] is shown["partial_auc"] is shown["curves"]["decision"] is None
    assert shown["curves"]["suppressed"]["precision_recall"] == TOO_FEW_SITES


def test_a_total_of_two_sites_without_small_cells_is_shown() -> None:
    two = final({name: LARGE[name] for name in "ab"})
    assert published(two, 5) == two


def test_synthetic_patients_show_everything() -> None:
    tiny = final({"a": (1, 0, 2, 1), "b": (0, 1, 1, 1)})
    assert published(tiny, 1) == tiny


def test_a_comparators_entry_without_curves_is_governed_alike() -> None:
    entry = {key: final(LARGE | {"d": (1, 9, 40, 7)})[key] for key in ("pooled", "sites")} | {"penalty": 0.1}
    shown = published(entry, 5)
    assert hidden(shown) == {"d", "c"}
    assert set(shown) == set(entry)
    assert shown["penalty"] == 0.1


SITES = st.dictionaries(
    st.sampled_from("abcdefg"), st.tuples(*[st.integers(0, 40)] * 4).filter(lambda c: sum(c) > 0), min_size=1
)


@given(SITES, st.integers(1, 8))
@settings(deadline=None, max_examples=80)
def test_the_total_less_all_shown_sites_is_of_several_sites_or_of_none(sites: dict[str, Cells], minimum: int) -> None:
    document = final(sites)
    before = copy.deepcopy(document)
    shown = published(document, minimum)
    assert document == before
    gone = hidden(shown)
    for name in set(sites) - gone:
        assert not any(0 < cell < minimum for cell in sites[name])
    if shown["pooled"]["accuracy"] is not None and gone:
        assert len(gone) >= 2
        assert len(sites) >= 3
    json.dumps(shown, allow_nan=False)


def results(folds: list[dict[str, Cells]], several: bool = True) -> dict:
    finals = [final(sites) for sites in folds]
    entries = [{"pooled": one["pooled"], "sites": one["sites"]} for one in finals]
    top = {**pool_finals(finals), "roc": {}} if several else finals[0]
    return {
        "study": "s",
        "final": top,
        "comparators": {"clinical": pool_finals(entries) if several else entries[0]},
        "folds": [
            {"fold": str(number), "final": one, "comparators": {"clinical": entry}}
            for number, (one, entry) in enumerate(zip(finals, entries, strict=True))
        ]
        if several
        else [],
    }


def test_of_one_fold_the_run_shows_what_the_fold_may() -> None:
    small = LARGE | {"b": (26, 10, 50, 2)}
    shown = published_results(results([small], several=False), 5)
    assert shown["final"] == published(final(small), 5)
    assert hidden(shown["comparators"]["clinical"]) == {"b", "c"}
    assert shown["study"] == "s"


def test_a_site_that_one_fold_hides_is_hidden_in_every_fold() -> None:
    """Else its figures of all folds less those of the others would be that fold's."""
    shown = published_results(results([LARGE, LARGE | {"a": (38, 20, 60, 2)}, LARGE]), 5)
    assert hidden(shown["final"]) == set()  # 12 missed in all folds together
    for fold in shown["folds"]:
        assert hidden(fold["final"]) == hidden(fold["comparators"]["clinical"]) == {"a", "c"}


def test_the_fold_of_a_site_held_out_hides_its_total_too() -> None:
    sites = LARGE | {"d": (12, 9, 40, 1)}
    shown = published_results(results([{name: cells} for name, cells in sites.items()]), 5)
    assert hidden(shown["final"]) == {"d", "c"}
    by_fold = {next(iter(fold["final"]["sites"])): fold["final"] for fold in shown["folds"]}
    assert {name for name, one in by_fold.items() if one["pooled"]["sensitivity"] is None} == {"d", "c"}
    assert shown["final"]["pooled"]["sensitivity"] is not None


def test_a_fold_that_was_lost_has_nothing_to_hide() -> None:
    document = results([LARGE, LARGE])
    document["folds"].append({"fold": "lost", "failed": "no-quorum"})
    assert published_results(document, 5)["folds"][-1] == {"fold": "lost", "failed": "no-quorum"}


@given(st.lists(SITES, min_size=2, max_size=4), st.integers(2, 6))
@settings(deadline=None, max_examples=60)
def test_neither_over_sites_nor_over_folds_does_a_difference_leave_one_cell(
    folds: list[dict[str, Cells]], minimum: int
) -> None:
    shown = published_results(results(folds), minimum)
    for sites, fold in zip(folds, shown["folds"], strict=True):
        gone = hidden(fold["final"])
        assert not any(0 < cell < minimum for name in set(sites) - gone for cell in sites[name])
        if gone and fold["final"]["pooled"]["accuracy"] is not None:
            assert len(gone) >= 2
    for name in set().union(*folds):
        held = [fold for sites, fold in zip(folds, shown["folds"], strict=True) if name in sites]
        by_fold = [name in hidden(fold["final"]) for fold in held]
        assert all(by_fold) or not any(by_fold)
    assert not any(a is b for a, b in itertools.combinations([shown["final"], *shown["folds"]], 2))


def run_of(own: dict, comparator: dict, folds: list[tuple[dict, dict]] = ()) -> dict:
    entries = [{"final": one, "comparators": {"clinical": two}} for one, two in folds]
    return {"final": own, "comparators": {"clinical": comparator}, "folds": entries}


def test_the_total_of_a_comparator_that_a_site_missed_is_hidden():
    """Both totals shown, the site's patients by outcome would be their difference, whatever is hidden of it."""
    fewer = final({name: LARGE[name] for name in "abc"})
    shown = published_results(run_of(final(LARGE), fewer), minimum=5)["comparators"]["clinical"]
    assert {shown["pooled"][key] for key in METRIC_KEYS if key != "threshold"} == {None}
    assert shown["pooled"]["suppressed"]["n"] == "tested-at-other-sites"
    assert shown["sites"]["a"] == fewer["sites"]["a"]
    assert published_results(run_of(final(LARGE), fewer), minimum=1)["comparators"]["clinical"] == fewer


def test_the_total_of_a_comparator_of_the_same_sites_stays():
    assert published_results(run_of(final(LARGE), final(LARGE)), minimum=5)["comparators"]["clinical"] == final(LARGE)


def test_one_fold_of_other_sites_hides_the_total_over_folds():
    own, fewer = final(LARGE), final({name: LARGE[name] for name in "abc"})
    over = {key: value for key, value in final(LARGE).items() if key in {"pooled", "sites"}}
    found = published_results(run_of(over, over, [(own, own), (own, fewer)]), minimum=5)
    assert found["comparators"]["clinical"]["pooled"]["n"] is None
    assert [fold["comparators"]["clinical"]["pooled"]["n"] is None for fold in found["folds"]] == [False, True]
