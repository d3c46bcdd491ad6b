"""The evaluation's part of the page as a whole: no text becomes markup, nothing is loaded."""

import json
import re

import pytest
from report_page import Page
from results_factory import sample_comparators, sample_folds, sample_results

from fedescc.common import wire
from fedescc.server.report.page import render
from fedescc.server.report.reasons import PHASES

NEW = ("primary", "partial_auc", "average_precision", "curves", "meta", "auc_within_site", "bootstrap", "comparisons")


def test_every_question_about_test_patients_has_a_name():
    assert set(wire.OF_TEST_PATIENTS) <= PHASES.keys()


ATTACK = '"><script>alert(1)</script><b onclick="x"\u202e'
TEXTS = ("clinical", "radiomics_clinical", "female", "male", "sex", "siemens", "ge", "subgroup-too-small", "youden")
METHODS = ("method", "opened_at", "threshold_source", "metric", "primary_metric", "compared_with", "auc_method")


def prefixed(value, prefix):
    """Names, levels, codes and methods with a text before them, as values and as keys."""
    if isinstance(value, dict):
        return {
            (prefix + key if key in TEXTS else key): prefix + one
            if key in METHODS and isinstance(one, str)
            else prefixed(one, prefix)
            for key, one in value.items()
        }
    if isinstance(value, list):
        return [prefixed(one, prefix) for one in value]
    return prefix + value if value in TEXTS else value


DOCUMENTS = {
    "split": lambda: sample_results() | {"comparators": sample_comparators()},
    "kfold": sample_folds,
    "loso": lambda: sample_folds("loso"),
}


@pytest.fixture(params=DOCUMENTS)
def document(request):
    return DOCUMENTS[request.param]()


def test_no_text_of_the_evaluation_becomes_markup(document):
    found = Page(render(prefixed(document, ATTACK)))
    harmless = Page(render(prefixed(document, "x" * len(ATTACK))))
    assert [tag for tag, _ in found.tags] == [tag for tag, _ in harmless.tags]
    assert [a.keys() for _, a in found.tags] == [a.keys() for _, a in harmless.tags]
    shown = found.text.count(ATTACK.replace("\u202e", "\ufffd"))
    assert shown > 50
    assert "\u202e" not in found.html


def test_every_section_is_there_and_linked(document):
    page = Page(render(document))
    sections = [a["id"] for a in page.named("section")]
    expected = ["result", "sites", "plan", "performance", "curves", "comparison", "subgroups"]
    assert [name for name in sections if name in expected] == expected
    assert {f"#{name}" for name in sections} <= {a["href"] for a in page.named("a")}


def test_nothing_is_loaded_from_anywhere(document):
    page = Page(render(document))
    assert not re.search(r"https?:|//|url\(|@import|javascript:", page.html.replace("<!doctype html>", ""))
    assert not {tag for tag, _ in page.tags} & {"script", "link", "img", "iframe", "object", "embed"}
    assert all(a["href"].startswith("#") for a in page.named("a"))


def test_every_number_drawn_is_a_number(document):
    page = Page(render(document))
    assert not re.search(r"\bNone\b|\bnan\b|\binf\b", page.text)
    places = [value for _, a in page.tags for key, value in a.items() if key in {"x", "y", "x1", "x2", "y1", "y2"}]
    assert len(places) > 200
    assert all(-1 <= float(value) <= 3000 for value in places)


@pytest.mark.parametrize("key", [*NEW, "subgroups", "fairness", "suppressed"])
def test_any_new_part_of_the_evaluation_may_be_absent(document, key):
    for final in (document["final"], *(fold["final"] for fold in document.get("folds", ()) if "final" in fold)):
        final.pop(key)
    assert "Performance" in Page(render(document)).text


@pytest.mark.parametrize("key", ["primary", "partial_auc", "average_precision", "curves", "meta", "bootstrap"])
def test_any_new_part_of_the_evaluation_may_be_null(document, key):
    document["final"][key] = None
    assert not re.search(r"\bNone\b|\bnan\b", Page(render(document)).text)


def test_every_null_may_lack_its_reason(document):
    """Older or damaged results; a reason is never made up."""
    raw = json.loads(
        json.dumps(document["final"]), object_hook=lambda one: {k: v for k, v in one.items() if k != "suppressed"}
    )
    page = Page(render(document | {"final": raw}))
    assert not re.search(r"\bNone\b|\bnan\b", page.text)
