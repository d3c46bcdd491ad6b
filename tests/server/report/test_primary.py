"""The primary metric at the top of the page, and the areas that are told apart beside it."""

import re

import pytest
from report_page import Page
from results_factory import sample_folds, sample_results

from fedescc.server.report.document import parse_results
from fedescc.server.report.formats import interval
from fedescc.server.report.page import render
from fedescc.server.report.primary import discrimination, headline_area
from fedescc.server.report.reasons import REASONS


@pytest.fixture
def results():
    return sample_results()


def rows(results):
    page = Page(discrimination(parse_results(results)))
    return {row[0]: row[2:] for row in page.table("", "What it is")[1:]}


def test_every_area_is_in_the_table_with_its_own_interval(results):
    final = results["final"]
    found = rows(results)
    within, meta, partial = final["auc_within_site"], final["meta"], final["partial_auc"]
    assert found == {
        "Pooled AUC (primary)": [f"{final['pooled']['auc']:.3f}", interval(final["pooled"]["auc_ci95"])],
        "Within-site AUC": [f"{within['auc']:.3f}", interval(within["ci95"])],
        "Random-effects mean AUC": [f"{meta['auc']:.3f}", interval(meta["ci95"])],
        "Pooled AUC, sites drawn again": [f"{final['pooled']['auc']:.3f}", interval(final["bootstrap"]["auc_ci95"])],
        "Partial AUC": [f"{partial['auc']:.3f}", "–"],
        "Average precision": [f"{final['average_precision']:.3f}", "–"],
    }


def test_pooled_and_within_site_are_told_apart_in_a_sentence(results):
    words = Page(render(results)).text
    assert "The pooled and the within-site AUC differ where sites differ: where one site has" in words
    assert "patients of different sites are compared too" in words
    assert "only patients of one site are compared" in words
    assert "false positive rate of 0.2, standardised: 0.5 is chance" in words
    prevalence = results["final"]["curves"]["precision_recall"]["prevalence"]
    assert f"chance is the prevalence, {prevalence:.3f}" in words


@pytest.mark.parametrize(
    ("metric", "label", "source"),
    [
        ("pooled_auc", "Pooled AUC", "pooled"),
        ("mean_site_auc", "Within-site AUC", "auc_within_site"),
        ("site_meta_analysis", "Random-effects mean AUC", "meta"),
    ],
)
def test_the_primary_metric_comes_first_and_is_the_headline(results, metric, label, source):
    final = results["final"]
    bounds = final[source]["auc_ci95" if source == "pooled" else "ci95"]
    final["primary"] = {"metric": metric, "auc": final[source]["auc"], "ci95": bounds}
    first = next(iter(rows(results)))
    assert first == f"{label} (primary)"
    page = Page(render(results))
    assert f"{label} {final[source]['auc']:.3f} 95 % CI {interval(tuple(bounds))}" in page.text
    lead = [a for tag, a in page.tags if tag == "tr" and a.get("class") == "lead"]
    assert len(lead) >= 1


@pytest.mark.parametrize(
    ("metric", "source"),
    [("pooled_auc", "pooled"), ("mean_site_auc", "auc_within_site"), ("site_meta_analysis", "meta")],
)
def test_a_headline_without_a_value_names_the_reason_of_its_own_metric(results, metric, source):
    final = results["final"]
    final["primary"] = {"metric": metric, "auc": None, "ci95": None}
    final[source] |= {"auc": None, "suppressed": {"auc": "fewer-than-two-studies"}}
    found = headline_area(parse_results(results))
    assert (found.area.auc, found.reason) == (None, "fewer-than-two-studies")
    assert f"No value: {REASONS['fewer-than-two-studies']}." in Page(render(results)).text


def test_sites_held_out_have_their_mean_and_a_new_sites_interval_at_the_top():
    folds = sample_folds("loso")
    primary = folds["final"]["primary"]
    shown = f"95 % CI {interval(primary['ci95'])}; at a new site {interval(primary['prediction95'])}"
    words = Page(render(folds)).text
    assert f"Result Random-effects mean AUC {primary['auc']:.3f} {shown}" in words
    assert "no patient is compared with one of another site" in words
    assert list(rows(folds))[:2] == ["Random-effects mean AUC (primary)", "Mean AUC over folds"]


def test_over_folds_nothing_needs_scores_of_one_model():
    page = Page(discrimination(parse_results(sample_folds())))
    found = {row[0]: row[2:] for row in page.table("", "What it is")[1:]}
    assert found["Partial AUC"] == found["Average precision"] == found["Pooled AUC, sites drawn again"] == ["–", "–"]
    assert f"scores-of-several-models – {REASONS['scores-of-several-models']}" in page.text
    assert next(iter(found)) == "Mean AUC over folds (primary)"


def test_every_area_may_be_null_with_its_reason(results):
    final = results["final"]
    gone = {"auc": None, "ci95": None, "suppressed": {"auc": "one-class", "ci95": "one-class"}}
    final["auc_within_site"] |= gone
    final["meta"] |= gone
    final["bootstrap"] |= {"auc_ci95": None, "suppressed": {"auc_ci95": "fewer-than-three-sites"}}
    final |= {"partial_auc": None, "average_precision": None}
    final["suppressed"] = {"partial_auc": "not-planned", "average_precision": "one-class"}
    found = rows(results)
    assert [values for name, values in found.items() if not name.endswith("(primary)")] == [["–", "–"]] * 5
    page = Page(discrimination(parse_results(results)))
    codes = ("one-class", "fewer-than-three-sites", "not-planned")
    assert all(f"{code} – {REASONS[code]}" in page.text for code in codes)
    assert {a["title"] for a in page.named("abbr") if "title" in a} == {REASONS[code] for code in codes}


def test_an_area_may_lack_its_interval_alone(results):
    results["final"]["auc_within_site"] |= {"ci95": None, "suppressed": {"ci95": "auc-at-boundary"}}
    assert rows(results)["Within-site AUC"][1] == "–"
    assert "auc-at-boundary" in discrimination(parse_results(results))


def test_results_that_name_no_primary_metric_show_the_pooled_auc(results):
    for key in ("primary", "auc_within_site", "meta", "bootstrap"):
        del results["final"][key]
    assert discrimination(parse_results(results)) is None
    assert f"Pooled AUC {results['final']['pooled']['auc']:.3f}" in Page(render(results)).text


def test_an_unknown_primary_metric_is_named_as_it_is(results):
    results["final"]["primary"] = {"metric": "later_metric", "auc": 0.7, "ci95": None}
    assert re.search(r"later_metric 0\.700 no interval", Page(render(results)).text)
    assert not any("(primary)" in name for name in rows(results))
