"""What a person reads of a plan: every row from its numbers, kept counts as such, and remarks where they belong."""

import copy

import pytest
from rich.console import Console
from site_counts import told
from toy_federation import STUDY

from fedescc.common.federation import Federation
from fedescc.common.study import Study
from fedescc.common.yamlfile import parse_model
from fedescc.server.federate import LEAVES
from fedescc.server.planning import words
from fedescc.server.planning.page import render_plan
from fedescc.server.planning.plan import Assumptions, make_plan
from fedescc.server.planning.tables import SECTIONS, print_plan, rows

PLAN = "analysis: {comparators: [clinical], subgroups: {sex: {variable: sex}}}\ndisclosure:"
TOY = parse_model(STUDY.replace("disclosure:", PLAN), Study, "toy")
LEVELS = {("sex", "female"): (60, 25), ("sex", "male"): (60, 15), ("sex", "missing"): (0, 0)}


@pytest.fixture(scope="module")
def plan():
    sites = {name: told(TOY, name, [(120, 40), (30, 10), (50, 17)], LEVELS) for name in ("a", "b", "c")}
    sites["d"] = told(TOY, "d", [(60, 20), None, None], included=100)
    return make_plan(TOY, sites, Federation(), Assumptions(noise_multiplier=1.5), LEAVES)


def test_every_row_has_a_cell_for_every_column(plan):
    for (title, columns), found in zip(SECTIONS, rows(plan), strict=True):
        assert found, title
        assert {len(row) for row in found} == {len(columns)}


def test_a_site_that_keeps_counts_is_shown_with_what_it_told(plan):
    assert words.site_rows(plan)[3] == ("d", "20 / 60", "kept / kept", "kept / kept", "kept / 100", "secure sums only")


def test_widths_are_those_of_the_intervals(plan):
    for row, entry in zip(words.width_rows(plan), plan["precision"]["at"], strict=True):
        assert row[0] == f"{entry['auc']:.2f}"
        assert row[2] == f"{entry['pooled']['high'] - entry['pooled']['low']:.3f}"
        assert row[1] == f"{entry['pooled']['low']:.3f}–{entry['pooled']['high']:.3f}"


def test_equal_sites_have_one_width_and_no_site_has_a_dash(plan):
    low, high = words.width_rows(plan)[0][3].split(" to ")
    assert low == high
    alone = copy.deepcopy(plan)
    for entry in alone["precision"]["at"]:
        entry["sites"] = {}
    assert words.width_rows(alone)[0][3] == "–"


def test_figures_at_the_threshold_are_those_of_the_assumed_auc(plan):
    at = next(one for one in plan["precision"]["at"] if one["auc"] == 0.75)["at_threshold"]
    found = {row[0]: row for row in words.threshold_rows(plan)}
    assert found["Sensitivity"][1] == f"{at['sensitivity']['expected']:.3f}"
    assert found["NPV"][3] == str(at["npv"]["n"])
    without = {**plan, "precision": {**plan["precision"], "at": []}}
    assert words.threshold_rows(without) == []


def test_a_model_of_columns_it_all_keeps_has_one_row_and_one_that_chooses_two(plan):
    assert [row[0] for row in words.development_rows(plan)] == ["Federated", "Clinical"]
    chosen = copy.deepcopy(plan)
    model = chosen["development"]["models"]["clinical"]
    model["candidates"] = {**model["fitted"], "parameters": 30}
    kinds = [row[1] for row in words.development_rows(chosen)]
    assert kinds == ["5 fitted", "5 fitted at most", "30 to choose from"]


def test_a_deep_network_says_that_no_formula_holds(plan):
    deep = copy.deepcopy(plan)
    deep["development"]["models"] = {"federated": {"weights": 21574, "reason": "beyond-the-formula"}}
    assert words.development_rows(deep) == [("Federated", "21574 weights", "–", "–", "–", "–", "no formula")]
    assert any("deep network" in line for line in words.remarks(deep))


def test_a_model_without_parameters_needs_nobody(plan):
    empty = copy.deepcopy(plan)
    nothing = {"parameters": 0, "reason": "no-parameters"}
    empty["development"]["models"] = {"clinical": {"fitted": nothing, "candidates": nothing}}
    assert words.development_rows(empty) == [("Clinical", "0 fitted", "–", "–", "–", "–", "–")]


def test_a_level_says_how_many_sites_kept_it(plan):
    assert words.subgroup_rows(plan)[0][:3] == ("sex", "female", "75 / 180, 1 kept")
    kept = copy.deepcopy(plan)
    kept["subgroups"]["sex"]["female"]["kept_by"] = ["a", "b", "c", "d"]
    assert words.subgroup_rows(kept)[0][2] == "kept"


def test_an_epsilon_is_told_with_its_check(plan):
    for row, (site, cost) in zip(words.budget_rows(plan), plan["privacy"]["sites"].items(), strict=True):
        assert row == (
            site,
            f"{cost['sampling_rate']:.3f}",
            str(cost["steps"]),
            f"{cost['epsilon']:.2f}",
            f"{cost['epsilon_rdp']:.2f}",
        )


@pytest.mark.parametrize(
    ("mode", "shown"),
    [("split", "the study's fixed split"), ("kfold", "cross-validation in 5 folds"), ("loso", "leave one site out")],
)
def test_the_first_line_says_what_is_assumed(plan, mode, shown):
    line = words.assumptions({**plan, "assumed": {**plan["assumed"], "mode": mode}})
    assert line == f"{shown}; 51 of 150 patients tested have the outcome; assumed AUC 0.75"


@pytest.mark.parametrize("columns", ["80", "200"])
def test_no_number_is_cut_on_the_terminal(plan, capsys, monkeypatch, columns):
    monkeypatch.setenv("COLUMNS", columns)
    assert Console().width == int(columns)
    print_plan(plan)
    out = capsys.readouterr().out
    assert "\u2026" not in out
    for row in words.width_rows(plan):
        assert all(cell in out for cell in row[:3])


def test_names_are_text_on_the_page_and_never_markup(plan):
    hostile = copy.deepcopy(plan)
    hostile["study"] = "<script>alert(1)</script>"
    hostile["subgroups"] = {"sex": {"<img src=x>": plan["subgroups"]["sex"]["female"]}}
    page = render_plan(hostile)
    assert "<script" not in page
    assert "<img" not in page
    assert "&lt;img src=x&gt;" in page
