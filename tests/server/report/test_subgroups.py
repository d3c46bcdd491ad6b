"""Subgroups on the page: shown levels with their numbers, hidden ones by name and reason, and the gaps."""

import re

import pytest
from report_page import Page
from results_factory import sample_folds, sample_results

from fedescc.server.report.document import parse_results
from fedescc.server.report.formats import interval, signed_interval, words
from fedescc.server.report.page import render
from fedescc.server.report.reasons import REASONS, reason
from fedescc.server.report.subgroups import subgroups_section


@pytest.fixture
def results():
    return sample_results()


def section(results):
    return Page(subgroups_section(parse_results(results)))


def levels(results):
    return {(name, level): one for name, found in results["final"]["subgroups"].items() for level, one in found.items()}


def label(name, level):
    return f"{words(name)}: {'not known' if level == 'missing' else words(level)}"


def test_every_level_has_a_row_with_its_own_numbers(results):
    table = section(results).table("Subgroup", "Level", "Sites", "Patients", "With outcome")[1:]
    for row, ((name, level), one) in zip(table, levels(results).items(), strict=True):
        assert f"{row[0]}: {row[1]}" == label(name, level)
        if one["n"] is None:
            assert row[2:] == ["–"] * 7
            continue
        assert row[2:5] == [str(one["sites"]), str(one["n"]), str(one["n_pos"])]
        assert row[5:7] == [f"{one['auc']:.3f}", interval(one["auc_ci95"])]
        for cell, key in zip(row[7:], ("sensitivity", "specificity"), strict=True):
            assert cell == f"{one[key]:.3f}{interval(one['ci95'][key])}"


def test_the_plot_has_the_whole_and_every_level_that_is_shown(results):
    spoken = re.search(r'id="subgroup-auc-desc">([^<]*)<', section(results).html)[1]
    pooled = results["final"]["pooled"]
    assert spoken.startswith(f"All patients: {pooled['auc']:.3f} ({interval(pooled['auc_ci95'])})")
    shown = {key: one for key, one in levels(results).items() if one["auc"] is not None}
    assert len(shown) == 10
    for key, one in shown.items():
        said = f"{label(*key)}: {one['auc']:.3f} ({interval(one['auc_ci95'])})"
        assert said.replace("<", "&lt;").replace(">", "&gt;") in spoken
    assert spoken.count(": ") == 1 + 2 * len(shown)


def test_hidden_levels_are_named_with_their_reason(results):
    results["final"]["subgroups"]["sex"]["missing"]["suppressed"]["n"] = "no-patients"
    text = section(results).text
    hidden = [label(*key) for key, one in levels(results).items() if one["n"] is None and key != ("sex", "missing")]
    assert len(hidden) >= 4
    assert f"{reason('subgroup-too-small')} : {', '.join(hidden)}" in text
    assert f"{reason('no-patients')} : sex: not known" in text


def test_without_hidden_levels_none_is_named(results):
    results["final"]["subgroups"] = {"sex": {k: v for k, v in results["final"]["subgroups"]["sex"].items() if v["n"]}}
    assert "Levels that are not shown" not in section(results).text


def test_gaps_name_both_levels_or_their_reason(results):
    gaps = results["final"]["fairness"]
    gaps["stage"]["auc"] = {"gap": None, "levels": None, "suppressed": "fewer-than-two-levels"}
    page = section(results)
    for row, (name, found) in zip(page.table("Subgroup", "Sensi\u00adtivity")[1:], gaps.items(), strict=True):
        assert row[0] == words(name)
        for cell, key in zip(row[1:], ("sensitivity", "specificity", "auc"), strict=True):
            one = found[key]
            if one["gap"] is None:
                assert cell == "–"
                continue
            assert cell == f"{one['gap']:.3f}{signed_interval(one['ci95'])}{' to '.join(map(words, one['levels']))}"
    assert f"fewer-than-two-levels – {REASONS['fewer-than-two-levels']}" in page.text
    assert "chance alone makes one" in page.text
    assert "the interval does not count that the widest pair was picked" in page.text


def test_a_gap_without_an_interval_has_a_reason_in_its_place(results):
    gap = {"gap": 0.25, "ci95": None, "levels": ["female", "male"], "suppressed": "auc-at-boundary"}
    results["final"]["fairness"] = {"sex": {"auc": gap}}
    page = section(results)
    assert page.table("Subgroup", "Sensi\u00adtivity")[1][3] == "0.250–female to male"
    assert f"auc-at-boundary – {REASONS['auc-at-boundary']}" in page.text


def test_a_gap_may_reach_below_zero(results):
    gap = {"gap": 0.02, "ci95": [-0.11, 0.15], "levels": ["female", "male"]}
    results["final"]["fairness"] = {"sex": {"sensitivity": gap}}
    cell = section(results).table("Subgroup", "Sensi\u00adtivity")[1][1]
    assert cell == "0.020\u22120.110 to +0.150female to male"


def test_without_gaps_there_is_no_table_of_them(results):
    results["final"]["fairness"] = {}
    assert "Gaps between levels" not in section(results).text


def test_where_no_level_has_an_auc_the_sensitivity_is_drawn(results):
    shown = [one for one in levels(results).values() if one["auc"] is not None]
    for one in shown:
        one |= {"auc": None, "auc_ci95": None, "suppressed": {"auc": "scores-of-several-models"}}
    page = section(results)
    spoken = re.search(r'id="subgroup-auc-desc">([^<]*)<', page.html)[1]
    first = shown[0]
    assert f"{first['sensitivity']:.3f} ({interval(first['ci95']['sensitivity'])})" in spoken
    assert "Sensitivity by subgroup" in page.text
    assert "at the locked threshold" in page.text
    assert label("sex", "female") not in page.text.split("Levels that are not shown")[1].split("Gaps between")[0]
    assert f"scores-of-several-models – {REASONS['scores-of-several-models']}" in page.text


def test_where_every_level_is_hidden_there_is_no_plot(results):
    hidden = results["final"]["subgroups"]["sex"]["missing"]
    results["final"]["subgroups"] = {"sex": {"female": hidden, "male": hidden, "missing": hidden}}
    page = section(results)
    assert page.named("svg") == []
    assert "By subgroup No level has a value that may be shown." in page.text
    assert "sex: female, sex: male, sex: not known" in page.text


@pytest.mark.parametrize("mode", ["kfold", "loso"])
def test_several_folds_have_subgroups_too(mode):
    folds = sample_folds(mode)
    page = section(folds)
    shown = [one for one in levels(folds).values() if one["n"] is not None]
    assert len(shown) >= 2
    assert all(one["auc"] is None for one in shown)
    assert len(page.table("Subgroup", "Level")) == 1 + len(levels(folds))
    assert "Sensitivity by subgroup" in page.text


def test_no_subgroups_no_section(results):
    for key in ("subgroups", "fairness"):
        del results["final"][key]
    assert subgroups_section(parse_results(results)) is None
    assert "subgroups" not in {a["id"] for a in Page(render(results)).named("section")}
