"""What results say of the plan: which comparators it names, and which a run made of its own accord."""

from fedescc.common.analysis import Analysis
from fedescc.server.entries import plan_entry

PLAN = Analysis(comparators=("clinical", "fusion"), compared_with="fusion")


def test_a_plan_that_is_kept_is_planned_throughout():
    entry = plan_entry(PLAN, ("clinical", "fusion"))
    assert entry["sha256"] == PLAN.sha256
    assert entry["comparators"] == {"planned": ["clinical", "fusion"], "exploratory": [], "not_run": []}


def test_a_fusion_that_joins_one_more_model_is_exploratory_and_the_planned_one_was_not_run():
    assert plan_entry(PLAN, ("clinical", "fusion", "radiomics_clinical"))["comparators"] == {
        "planned": ["clinical"],
        "exploratory": ["fusion", "radiomics_clinical"],
        "not_run": ["fusion"],
    }


def test_what_a_run_leaves_out_is_named():
    assert plan_entry(PLAN, ())["comparators"] == {"planned": [], "exploratory": [], "not_run": ["clinical", "fusion"]}
