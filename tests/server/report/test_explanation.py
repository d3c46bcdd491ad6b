"""The explanation's section: bars, ranks, gates, baselines and the comparators' columns, as the results have them."""

import re

import pytest
from examined_results import examined_results
from report_page import Page

from fedescc.server.evaluation.explanation_gates import LIMITS
from fedescc.server.report.formats import decimal, magnitude, player_label
from fedescc.server.report.gates import ASKED
from fedescc.server.report.page import render


@pytest.fixture
def results():
    return examined_results()


@pytest.fixture
def page(results):
    return Page(render(results))


def gate_rows(page):
    head, *rows = page.table("What is asked")
    return {row[0]: dict(zip(head, row, strict=True)) for row in rows}


def test_every_gate_has_words_and_the_rule_that_it_is_judged_by():
    assert set(ASKED) == set(LIMITS)
    for name, (_, at_most) in LIMITS.items():
        assert ASKED[name].rule == ("at most" if at_most else "above")


def test_every_gate_shows_value_limit_and_verdict_in_words(results, page):
    rows = gate_rows(page)
    gates = results["explanation"]["gates"]
    verdicts = {True: "passed", False: "failed", None: "not judged"}
    assert len(rows) == len(gates)
    for name, gate in gates.items():
        row = rows[ASKED[name].question]
        assert row["Verdict"] == verdicts[gate["passed"]]
        assert row["Limit"] == f"{ASKED[name].rule} {magnitude(gate['limit'])}"
        assert row["Value"] == magnitude(gate["value"])
    assert {row["Verdict"] for row in rows.values()} == set(verdicts.values())
    assert rows[ASKED["additivity_error"].question]["Value"] == "3.1e\u221207"


def test_failed_gates_are_a_warning_and_passed_ones_are_none(results, page):
    assert "Failed gates." in page.text
    assert f"too-few-players {chr(0x2013)} too few inputs to compare" in page.text
    for gate in results["explanation"]["gates"].values():
        gate["passed"] = True
    words = Page(render(results)).text
    assert "Failed gates." not in words
    assert f"{len(LIMITS)} of {len(LIMITS)} gates that could be judged have passed." in words


def test_ranks_stand_by_site_with_kendalls_w(results, page):
    found = results["explanation"]["rank_stability"]
    sites = sorted(found["sites"])
    head, *rows = page.table("Input", *sites)
    assert len(rows) == len(results["explanation"]["pooled"])
    by_label = {player_label(name): name for name in results["explanation"]["pooled"]}
    for row in rows:
        for site, cell in zip(head[1:], row[1:], strict=True):
            rank = found["sites"][site][by_label[row[0]]]
            assert cell == f"{rank['mean_rank']:.1f} \u00b1 {rank['sd']:.1f}"
    words = f"Kendall's W of {len(sites)} sites over {found['players_compared']} inputs is {found['kendall_w']:.2f}"
    assert words in page.text


def test_a_rank_that_a_site_does_not_show_is_a_dash_and_no_agreement_has_its_reason(results):
    found = results["explanation"]["rank_stability"]
    del found["sites"]["beijing"]["blood"]
    found |= {"kendall_w": None, "reason": "too-few-sites"}
    page = Page(render(results))
    row = next(row for row in page.table("Input", "beijing") if row[0] == "blood")
    assert row[1] == "\u2013"
    assert "No agreement between sites can be told: fewer than two sites (too-few-sites)." in page.text


def test_both_baselines_stand_side_by_side(results, page):
    rows = {row[0]: row[1:] for row in page.table("Input", "Patients", "Fixed", "Local tissue")[1:]}
    for name, one in results["explanation"]["local_baseline"].items():
        assert rows[player_label(name)] == [str(one["n"]), decimal(one["fixed"]), decimal(one["local"])]
    spoken = re.search(r'id="baselines-desc">([^<]*)<', page.html)[1]
    assert spoken.startswith("tumour, pre-treatment: fixed 0.400, local 0.020")
    drawing = page.html.split('aria-labelledby="baselines-title')[1].split("</svg>")[0]
    assert drawing.count("mark series-0") == drawing.count("mark series-1") == len(rows)


def test_without_images_or_known_baselines_nothing_is_drawn(results):
    for one in results["explanation"]["local_baseline"].values():
        one |= {"fixed": None, "local": None, "n": 0}
    page = Page(render(results))
    assert "baselines-title" not in page.html
    assert page.table("Input", "Patients", "Fixed")[1][2:] == ["\u2013", "\u2013"]
    results["explanation"]["local_baseline"] = None
    assert "local-tissue baseline" not in Page(render(results)).text


def test_comparators_have_small_tables_sorted_by_importance(results, page):
    columns = results["comparators"]["clinical"]["explanation"]["pooled"]
    head, *rows = page.table("Column", "Patients", "Mean |SHAP|")
    assert [row[0] for row in rows] == sorted(columns, key=lambda name: -columns[name]["mean_abs"])
    for row in rows:
        one = columns[row[0]]
        assert row[1:] == [str(one["n"]), decimal(one["mean_abs"]), decimal(one["mean"])]
    assert len(head) == 4
    assert "Clinical (1 gate, 0 failed): columns by mean |SHAP| (logit)." in page.text
    assert "Fusion : not explained, it joins other models, which are explained themselves" in page.text


def test_columns_of_a_linear_model_can_be_unfolded(results):
    results["explanation"]["columns"] = results["comparators"]["clinical"]["explanation"]
    page = Page(render(results))
    assert "Every column of the model (3)" in page.text
    assert "The model's own columns by mean |SHAP|" in page.text


def test_what_a_removed_input_shows_is_said(results, page):
    assert "shows its mean over 321 training patients" in page.text
    results["explanation"]["reference"] = {"kind": "zero", "patients": 0, "values": [0.0]}
    assert "shows 0, because no site gave sums" in Page(render(results)).text


@pytest.mark.parametrize("absent", [True, False])
def test_without_an_explanation_one_sentence_stands_and_the_comparators_stay(results, absent):
    results["explanation"] = None
    if absent:
        del results["explanation"]
    page = Page(render(results))
    assert "Explanation The results hold no such part" in page.text
    assert page.table("Column", "Patients")
    assert "What the predictions rest on" not in page.text


def test_a_fusion_without_inputs_of_its_own_says_so(results):
    results["explanation"] = {"unit": "logit", "pooled": None, "sites": {}, "reason": "explained-by-its-models"}
    assert "Not explained: it joins other models, which are explained themselves" in Page(render(results)).text


@pytest.mark.parametrize("key", ["gates", "rank_stability", "local_baseline", "reference", "suppressed"])
def test_an_older_explanation_without_a_part_still_renders(results, key):
    del results["explanation"][key]
    assert "What the predictions rest on" in Page(render(results)).text
