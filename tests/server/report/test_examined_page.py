"""Whole pages with everything that examines a run: safe, linked, described, and the same at every writing."""

import json
import re

import pytest
from examined_results import NOISY, examined_results
from report_page import Page
from results_factory import PATIENTS, sample_folds

from fedescc.common.errors import Refusal
from fedescc.server.report.dots import Dot, DotRow, dot_chart, reach
from fedescc.server.report.formats import magnitude, scan_label
from fedescc.server.report.page import render
from fedescc.server.report.svg import ACCENT

ATTACK = '"><script>alert(1)</script><b onclick="x"\u202e'
VALUES = (*PATIENTS, "siemens", "too-few-players", "no-answer-in-time", "too-few-training-patients", "all-dimensions")
KEYS = (
    "pre_tumour", "cT=4", "deletion_curve", "pre.noise_hu", "post.vendor", "ge", "<65", "clinical", "fusion",
    "classification", "federated / bootstrap",
)  # fmt: skip
PARTS = ("explanation", "shortcuts", "contribution", "planning", "audit")


def attacked(prefix):
    """Every name and free text of the parts that examine a run, with a prefix."""
    results = examined_results(protected=True)
    results["contribution"]["note"] = results["shortcuts"]["embeddings"]["note"] = prefix
    results["planning"]["privacy"]["charged_beside_training"] = [prefix]
    for flag in results["shortcuts"]["drift"]["flags"]:
        flag["why"] = flag["what"] = prefix
    for figure in results["audit"]["figures"]:
        figure["figure"] = figure["group"] = prefix
    for group in results["audit"]["groups"].values():
        group["worst"] = prefix
    results["audit"]["not_audited"]["a"] = prefix
    raw = json.dumps(results)
    for plain in VALUES:  # as values and as keys
        assert json.dumps(plain) in raw, plain
        raw = raw.replace(json.dumps(plain), json.dumps(prefix + plain))
    for key in KEYS:
        assert f"{json.dumps(key)}: " in raw, key
        raw = raw.replace(f"{json.dumps(key)}: ", f"{json.dumps(prefix + key)}: ")
    return Page(render(json.loads(raw)))


def test_no_text_of_these_parts_becomes_markup():
    found, harmless = attacked(ATTACK), attacked("x" * len(ATTACK))
    assert [tag for tag, _ in found.tags] == [tag for tag, _ in harmless.tags]
    assert [a.keys() for _, a in found.tags] == [a.keys() for _, a in harmless.tags]
    assert found.text.count(ATTACK.replace("\u202e", "\ufffd")) > 100
    assert "\u202e" not in found.html
    assert "<script" not in found.html


@pytest.mark.parametrize("make", [examined_results, lambda: examined_results(protected=True)])
def test_the_page_loads_nothing_is_linked_and_every_drawing_is_described(make):
    page = Page(render(make()))
    assert page.html == render(make())
    assert not {tag for tag, _ in page.tags} & {"script", "link", "img", "iframe", "object", "embed", "form", "base"}
    assert not re.search(r"https?:|//|url\(|@import|javascript:", page.html.replace("<!doctype html>", ""))
    assert not {name for _, a in page.tags for name in a} & {"src", "srcset", "style", "xlink:href"}
    ids = [a["id"] for _, a in page.tags if "id" in a]
    assert len(set(ids)) == len(ids)
    assert {a["href"][1:] for a in page.named("a")} <= set(ids)
    assert {name for _, a in page.tags for name in a.get("aria-labelledby", "").split()} <= set(ids)
    assert len(re.findall(r"<desc [^>]*>[^<]+</desc>", page.html)) == sum("role" in a for a in page.named("svg"))
    assert all(len({len(row) for row in found}) == 1 for found in page.tables)
    assert not re.search(r"\bNone\b|\bnan\b", page.text)


def test_the_contents_lead_to_every_part():
    page = Page(render(examined_results()))
    links = [a["href"] for a in page.named("a")]
    assert {f"#{part}" for part in PARTS} <= set(links)
    assert set(PARTS) <= {a["id"] for a in page.named("section")}


@pytest.mark.parametrize("mode", ["kfold", "loso"])
def test_several_folds_with_the_worst_gates_render(mode):
    folds = sample_folds(mode)
    folds["explanation"]["gates"] = examined_results()["explanation"]["gates"]
    page = Page(render(folds))
    assert "of several folds each is that of the worst fold" in page.text
    assert "contribution" in [a["id"] for a in page.named("section")]


@pytest.mark.parametrize(
    ("path", "value"),
    [
        (("shortcuts", "embeddings", "site", "accuracy"), 1.5),
        (("shortcuts", "drift", "numbers", "pre.noise_hu", "sites", NOISY, "sd"), -1.0),
        (("shortcuts", "drift", "flags"), [{"what": "x"}]),
        (("contribution", "sites", "beijing", "all_sites", "ci95"), [0.1]),
        (("explanation", "gates", "deletion_curve", "passed"), "yes"),
        (("audit", "passed"), 1),
        (("planning", "precision", "at"), [{"auc": 0.7}]),
    ],
    ids=lambda value: ".".join(map(str, value)) if isinstance(value, tuple) else None,
)
def test_a_value_that_cannot_be_is_refused_by_name(path, value):
    results = examined_results()
    place = results
    for key in path[:-1]:
        place = place[key]
    place[path[-1]] = value
    with pytest.raises(Refusal, match=path[0]):
        render(results)


def test_dots_stay_in_their_frame_whatever_their_size():
    rows = [DotRow("a", (Dot(ACCENT, -1e5, (-2e5, 3.0)),)), DotRow("b" * 60, (), mark=7.0), DotRow("c")]
    drawing = dot_chart("x", "t", "d", rows, "SD", limits=(-0.5, 0.5), zero=True)
    places = [float(x) for x in re.findall(r'x[12]="(-?[\d.]+)"', drawing)]
    assert all(0 <= x <= 480 for x in places)
    assert f"<title>{'b' * 60}</title>" in drawing
    assert drawing.count("not released") == 2
    assert reach(rows) == 2e5
    assert reach([DotRow("c")]) == 0.0


def test_a_chart_without_any_dot_has_an_axis():
    assert "nan" not in dot_chart("x", "t", "d", [DotRow("a")], "SD")


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (None, "\u2013"),
        (0.0, "0"),
        (-0.0, "0"),
        (0.5, "0.500"),
        (-3.1e-7, "\u22123.1e\u221207"),
        (0.001, "0.001"),
        (2e7, "2.0e+07"),
    ],
)
def test_numbers_of_any_size_are_readable(value, shown):
    assert magnitude(value) == shown


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        ("post.noise_hu", "Noise (HU), post-treatment"),
        ("pre.vendor", "Vendor, pre-treatment"),
        ("week_3.phase", "Phase, week_3"),
        ("other", "Other"),
        ("", ""),
    ],
)
def test_scans_are_named_by_kind_and_time_point(name, shown):
    assert scan_label(name) == shown
