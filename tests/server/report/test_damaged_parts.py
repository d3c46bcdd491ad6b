"""Parts that examine a run, damaged anywhere: the page still says what it can, or the document is refused by name."""

import json
import math
import re

import pytest
from examined_results import examined_results
from hypothesis import given, settings
from hypothesis import strategies as st
from report_page import Page

from fedescc.common.errors import Refusal
from fedescc.server.report.audit import audit_section
from fedescc.server.report.contribution import contribution_section
from fedescc.server.report.document import parse_results
from fedescc.server.report.explanation import explanation_section
from fedescc.server.report.planning import planning_section
from fedescc.server.report.shortcuts import shortcuts_section
from fedescc.server.report.svg import look

PARTS = ("explanation", "shortcuts", "contribution", "planning", "audit")
WHOLE = {key: examined_results(protected=True)[key] for key in (*PARTS, "study", "study_sha256", "rounds", "final")}
RAW = json.dumps(WHOLE)


def paths(value, before=()):
    """Every place in a document, the containers too."""
    places = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, inner in places:
        yield (*before, key)
        yield from paths(inner, (*before, key))


PLACES = [(part, *path) for part in PARTS for path in paths(WHOLE[part])]


def damaged(path, damage):
    document = json.loads(RAW)
    place = document
    for key in path[:-1]:
        place = place[key]
    damage(place, path[-1])
    return document


def drawn(document):
    """All parts in one string, and the same parsed."""
    results = parse_results(document)
    looks = {name: look(place) for place, name in enumerate(results.site_names)}
    sections = [make(results, looks) for make in (explanation_section, shortcuts_section, contribution_section)]
    return Page("".join([*sections, planning_section(results, looks), audit_section(results) or ""]))


def drawn_or_refused(document):
    try:
        return drawn(document)
    except Refusal as refusal:
        return refusal


def null(place, key):
    place[key] = None


def drop(place, key):
    del place[key]


def text(place, key):
    place[key] = "text"


def largest(place, key):
    place[key] = 1e300


def lowest(place, key):
    place[key] = -1e300


def empty(place, key):
    place[key] = type(place[key])() if isinstance(place[key], dict | list) else None


@given(st.sampled_from(PLACES), st.sampled_from([null, drop, text, empty]))
@settings(max_examples=150, deadline=None)
def test_damage_anywhere_is_shown_as_missing_or_refused(path, damage):
    page = drawn_or_refused(damaged(path, damage))
    if isinstance(page, Refusal):
        assert page.code == "no-results"
        assert path[0] in page.what
        return
    assert not re.search(r"\bNone\b|\bnan\b|\binf\b", page.text)
    assert all(len({len(row) for row in found}) == 1 for found in page.tables)


NUMBERS = [path for path in PLACES if isinstance(path[-1], str) and path[-1] in {"smd", "gain", "mean_rank", "fixed"}]


@given(st.sampled_from(NUMBERS), st.sampled_from([largest, lowest]))
@settings(max_examples=25, deadline=None)
def test_numbers_of_any_size_stay_inside_the_drawing(path, damage):
    html = drawn(damaged(path, damage)).html
    places = [float(value) for value in re.findall(r' x[12]?="(-?[\d.e+]+|-?inf|nan)"', html)]
    assert places
    assert all(math.isfinite(x) and -1 <= x <= 481 for x in places)


@pytest.mark.parametrize("part", PARTS)
def test_the_others_stand_where_one_part_is_missing(part):
    for damage in (null, drop):
        page = drawn(damaged((part,), damage))
        found = {a["id"] for a in page.named("section")}
        assert set(PARTS) - {"audit"} <= found
        assert ("audit" in found) == (part != "audit")
        assert page.text.count("The results hold no such part") == (part != "audit")


def test_only_what_was_damaged_changes():
    whole, without = drawn(WHOLE), drawn(damaged(("contribution",), null))
    assert [found for found in whole.tables if found[0][:2] != ["Site", "Gain"]] == without.tables
