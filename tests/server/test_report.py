"""The report: one safe, self-contained, accessible page that shows what results.json holds."""

import base64
import hashlib
import json
import re
from html import unescape
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from report_page import Page
from results_factory import (
    FAILED,
    HIDDEN,
    LOST,
    PATIENTS,
    REJECTED,
    sample_comparators,
    sample_folds,
    sample_results,
    sample_start,
)

from fedescc.common.errors import Refusal
from fedescc.common.statistics.metrics import METRIC_KEYS, PROPORTIONS
from fedescc.server.report.comparison import _MEANINGS
from fedescc.server.report.formats import (
    decimal,
    duration,
    fold_label,
    interval,
    method_label,
    p_value,
    player_label,
    ranges,
    sentence,
    shortened,
    signed,
    span_of,
    whole,
)
from fedescc.server.report.markup import el, text
from fedescc.server.report.page import render, write_report
from fedescc.server.report.performance import HEADINGS
from fedescc.server.report.reasons import REASONS, reason
from fedescc.server.report.style import DARK, LIGHT, SERIES, style_sheet
from fedescc.simulations.comparison.fold_comparison import COMPARATORS

OPTIONAL = sorted(sample_results().keys() - {"study", "study_sha256", "rounds", "final"})


@pytest.fixture
def results():
    return sample_results()


@pytest.fixture
def page(results):
    return Page(render(results))


def performance(page):
    """The table of all METRICS."""
    return page.table("", *HEADINGS.values())


# --- safe and self-contained ---


def test_nothing_is_loaded_and_nothing_can_run(page):
    assert not {tag for tag, _ in page.tags} & {"script", "link", "img", "iframe", "object", "embed", "form", "base"}
    assert not re.search(r"https?:|//|url\(|@import|javascript:", page.html.replace("<!doctype html>", ""))
    names = {name for _, attributes in page.tags for name in attributes}
    assert not {name for name in names if name.startswith("on")} | names & {"src", "srcset", "style", "xlink:href"}


def test_the_content_policy_allows_this_style_sheet_and_nothing_else(page):
    policies = [m["content"] for m in page.named("meta") if m.get("http-equiv") == "Content-Security-Policy"]
    style = page.html.split("<style>")[1].split("</style>")[0]
    digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
    assert policies == [f"default-src 'none'; style-src 'sha256-{digest}'; base-uri 'none'; form-action 'none'"]
    assert page.html.index("Content-Security-Policy") < page.html.index("<style>")


ATTACK = '"><script>alert(1)</script><b onclick="x"\u202e'
KEYS = ("post_rim", "local_only", "mean_hu_pre", "ct_before_surgery", "evaluation", "momentum")


def prefixed(results, prefix):
    """The results with other people's text changed wherever it appears: as values and as keys."""
    raw = json.dumps(results)
    for plain in (*PATIENTS, results["title"], results["registration"], results["notes"][0], "no-answer-in-time"):
        raw = raw.replace(json.dumps(plain), json.dumps(prefix + plain))
    for key in KEYS:
        assert f'"{key}": ' in raw
        raw = raw.replace(f'"{key}": ', f"{json.dumps(prefix + key)}: ")
    named = ("engine", "version", "strategy", "study", "endpoint")
    return json.loads(raw) | dict.fromkeys(named, prefix)


def test_no_text_of_the_results_becomes_markup(results):
    found = Page(render(prefixed(results, ATTACK)))
    harmless = Page(render(prefixed(results, "x" * len(ATTACK))))
    assert [tag for tag, _ in found.tags] == [tag for tag, _ in harmless.tags]
    assert [a.keys() for _, a in found.tags] == [a.keys() for _, a in harmless.tags]
    assert found.text.count(ATTACK.replace("\u202e", "\ufffd")) > 50
    assert "\u202e" not in found.html


@given(st.text())
def test_escaped_text_reads_as_before_and_holds_no_markup(value):
    escaped = text(value)
    assert not set(escaped) & set("<>\"'")
    assert len(unescape(escaped)) >= len(value) - 1
    if value.isprintable():
        assert unescape(escaped) == value


def test_an_element_escapes_text_but_not_elements():
    inner = el("b", "a < b")
    assert el("p", inner, " & c", title='"') == '<p title="&quot;"><b>a &lt; b</b> &amp; c</p>'
    assert el("line", x1=1.25, y1=2.0, stroke_width=3, class_="a", dash=None) == (
        '<line x1="1.25" y1="2" stroke-width="3" class="a"></line>'
    )


# --- accessible ---


def test_every_reference_has_its_target_and_every_id_is_unique(page):
    ids = [attributes["id"] for _, attributes in page.tags if "id" in attributes]
    assert len(set(ids)) == len(ids)
    links = [attributes["href"] for attributes in page.named("a")]
    assert len(links) > 10
    assert {link[1:] for link in links} <= set(ids)
    assert all(link.startswith("#") for link in links)
    labels = [name for _, a in page.tags for name in a.get("aria-labelledby", "").split()]
    assert set(labels) <= set(ids)
    assert len(labels) > 10


def test_headings_begin_with_one_h1_and_skip_no_level(page):
    levels = [int(tag[1]) for tag, _ in page.tags if re.fullmatch(r"h[1-6]", tag)]
    assert levels[0] == 1
    assert levels.count(1) == 1
    assert all(after <= before + 1 for before, after in pairwise(levels))
    assert page.named("html") == [{"lang": "en"}]


def test_every_table_has_a_caption_and_scopes(page):
    tags = [tag for tag, _ in page.tags]
    assert tags.count("table") == tags.count("caption") == tags.count("thead") >= 7
    assert {attributes.get("scope") for attributes in page.named("th")} == {"col", "row"}
    assert {len(row) for row in performance(page)} == {1 + len(METRIC_KEYS)}
    for found in page.tables:
        assert len({len(row) for row in found}) == 1


def test_every_drawing_is_described_or_decorative(page):
    drawings = page.named("svg")
    described = [a for a in drawings if a.get("role") == "img"]
    assert len(described) >= 14
    assert all(a.get("aria-hidden") == "true" for a in drawings if a not in described)
    assert len(re.findall(r"<desc [^>]*>[^<]+</desc>", page.html)) == len(described)


def luminance(colour: str) -> float:
    parts = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    r, g, b = (c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in parts)
    return 0.2126 * r + 0.7152 * g + 0.0722 * b


def contrast(first: str, second: str) -> float:
    """WCAG 2.2 contrast ratio."""
    low, high = sorted((luminance(first), luminance(second)))
    return (high + 0.05) / (low + 0.05)


@pytest.mark.parametrize("palette", [LIGHT, DARK], ids=["light", "dark"])
def test_contrast_meets_wcag_aa(palette):
    for ground in ("page", "panel"):
        for ink in ("ink", "soft", "accent"):
            assert contrast(palette[ink], palette[ground]) >= 4.5, (ink, ground)
    assert contrast(palette["warn-ink"], palette["warn-page"]) >= 4.5
    for number in range(SERIES):
        assert contrast(palette[f"series-{number}"], palette["page"]) >= 3, number


def test_the_style_knows_dark_screens_narrow_screens_and_paper():
    style = style_sheet()
    assert "@media screen and (prefers-color-scheme:dark)" in style  # never on paper
    assert "@media print" in style
    assert "details::details-content" in style  # closed details are printed too
    assert style.count("{") == style.count("}")
    used = set(re.findall(r"var\(--([a-z0-9-]+)\)", style)) - {"c"}
    assert used == set(LIGHT) == set(DARK)


# --- shows the numbers ---


def test_the_performance_table_holds_every_metric_pooled_first(results, page):
    found = performance(page)
    assert [row[0] for row in found[1:]] == ["Pooled", *sorted(PATIENTS)]
    for row in found[1:]:
        metrics = results["final"]["pooled"] if row[0] == "Pooled" else results["final"]["sites"][row[0]]
        for key, cell in zip(METRIC_KEYS, row[1:], strict=True):
            value = metrics[key]
            if value is None:
                assert cell == "–"
            elif key == "auc_ci95":
                assert [float(end) for end in cell.split("–")] == pytest.approx(value, abs=5e-4)
            elif key in PROPORTIONS:
                assert cell == f"{value:.3f}{interval(metrics['ci95'][key])}"
            else:
                assert float(cell.replace("\u2212", "-")) == pytest.approx(value, abs=5e-4)


def test_a_missing_value_names_its_reason_and_the_legend_explains_it(results):
    reasons = {"auc": "one-class", "calibration_slope": "<unheard-of>"}
    results["final"]["pooled"] |= {"auc": None, "calibration_slope": None, "suppressed": reasons}
    results["final"]["primary"] |= {"auc": None, "ci95": None}
    page = Page(render(results))
    titles = {a["title"] for a in page.named("abbr")}
    assert {"all patients have the same outcome", "<unheard-of>"} <= titles
    assert "one-class – all patients have the same outcome" in page.text
    assert "No value: all patients have the same outcome." in page.text
    assert {f"performance-reason-{n}" for n in (1, 2, 3)} <= {a.get("id") for _, a in page.tags}


def test_the_headline_comes_first_and_in_words(results, page):
    pooled = results["final"]["pooled"]
    low, high = pooled["auc_ci95"]
    strip = f"Pooled AUC {pooled['auc']:.3f} 95 % CI {low:.3f}–{high:.3f}"
    assert page.text.index(strip) < page.text.index("Performance on the test set")
    counts = f"Test patients {pooled['n']} With the outcome {pooled['n_pos']} Sites 5 Rounds 12"
    assert counts in page.text
    assert f"{pooled['n_pos']} of {pooled['n']} test patients" in page.text
    assert "Pooled values cover 4 of 5 sites: beijing, chengdu, henan-cancer, shantou." in page.text


def test_identity_and_intended_use_are_on_the_page(results, page):
    for fact in (results["title"], "NCT07088354", results["study_sha256"], "Research use only.", "Synthetic cohort."):
        assert fact in page.text
    assert results["study_sha256"][:12] in page.text.split("Result")[0]
    assert f"Seed {results['seed']}" in page.text


def test_lost_sites_are_a_visible_warning(results, page):
    assert f"1 site did not take part throughout. When and why, with the reason code: {LOST} : round 3–4" in page.text
    assert "(no-answer-in-time)" in page.text
    assert ": before training:" not in page.text
    results["refused_in_evaluation"] = {"evaluate.test": {"shantou": "site-error"}}
    results["refused_before_training"] = {"never-came": "empty-site"}
    results["sites_lost"] = [LOST, "never-came"]
    warned = Page(render(results)).text
    assert "3 sites did not take part throughout" in warned
    assert "never-came : before training: no patient of the site was included (empty-site)" in warned
    assert "shantou : test: the site failed; its own log says why (site-error)" in warned


def test_without_losses_and_notes_there_is_no_warning(results):
    for one in results["rounds"]:
        one["refused"] = {}
    results["opening"]["sites"][LOST] = 0
    del results["final"]["meta"]["note"]
    assert Page(render(results | {"sites_lost": [], "notes": []})).named("aside") == []


def test_the_flow_adds_up_even_where_a_breakdown_is_hidden(results, page):
    included = sum(site["included"] for site in results["flow"].values())
    box = re.search(r"In the sites' tables ([\d\u202f]+) Excluded (\d+) ([^.]*?) Included", page.text)
    total, excluded = int(box[1].replace("\u202f", "")), int(box[2])
    assert (total, excluded) == (included + 5 * 27, 5 * 27)
    assert sum(int(n) for n in re.findall(r" (\d+)(?= |$)", box[3])) == excluded
    assert "by rule not released (small counts) 27" in box[3]
    assert page.table("Site", "Included", "Training", "Excluded")[0][4:] == [
        "CT before surgery",
        "ROI available",
        "Incomplete clinical data",
    ]


def test_a_hidden_count_hides_the_total(results):
    results["flow"]["wuhan"]["excluded"] = None
    results["flow"]["wuhan"]["suppressed"] = {"flow_excluded": "class-count-below-minimum"}
    words = Page(render(results)).text
    assert "In the sites' tables" not in words
    assert "Included 944" in words


def test_rounds_are_listed_with_sites_refusals_and_seconds(results, page):
    found = page.table("Round", "Sites accepted", "Refused")
    assert len(found) == 1 + len(results["rounds"])
    assert found[3][1] == "4: beijing, henan-cancer, shantou, wuhan"
    assert found[3][2] == f"{LOST} (no-answer-in-time)"
    assert found[1][2] == "–"
    assert found[1][8] == f"{results['rounds'][0]['seconds']:.1f} s"


def test_comparators_stand_beside_the_federation_pooled_and_by_site(results, page):
    pooled = page.table("", "Patients", "With outcome", "AUC", "95 % CI", "Sensi\u00adtivity")
    by_site = page.table("Site", "Federated", "Local only", "Centralised")
    assert [row[0] for row in pooled[1:]] == ["Federated", "Local only", "Centralised"]
    assert pooled[1][1:5] == performance(page)[1][1:5]
    local = results["comparators"]["local_only"]["sites"]["beijing"]["auc"]
    assert by_site[1][2].startswith(f"{local:.3f}")
    assert by_site[-1] == [HIDDEN, "–", "–", "–"]


def test_comparators_on_other_patients_are_flagged(results, page):
    assert "The same test patients, pooled over sites." in page.text
    results["comparators"]["local_only"]["pooled"]["n"] += 14
    n = results["final"]["pooled"]["n"]
    flagged = f"not the same test patients (Federated {n}, Local only {n + 14}, Centralised {n})"
    assert flagged in Page(render(results)).text


def test_the_synthetic_test_set_shows_ceilings_and_cues(page):
    for words in ("2\u202f000 further synthetic patients", "Ceiling: Bayes", "Local: wuhan", "Mean HU change"):
        assert words in page.text


def test_explanation_is_sorted_and_names_hidden_sites(results, page):
    found = page.table("Group", "Patients", "Mean |SHAP|")
    lengths = [float(row[2]) for row in found[1:]]
    assert lengths == sorted(lengths, reverse=True)
    assert len(lengths) == len(results["explanation"]["pooled"])
    assert f"{HIDDEN} – fewer patients than the minimum count" in page.text


@pytest.mark.parametrize(
    ("privacy", "expected"),
    [
        ({"differential_privacy": False}, "Differential privacy Off The model updates carry no formal privacy"),
        ({"differential_privacy": True, "epsilon": 3.5, "delta": 1e-5}, "On ε = 3.50, δ = 1e-05; the unit"),
        ({"differential_privacy": True}, "On ε not stated"),
        ({}, "Differential privacy Not stated"),
        ({"secure_sum": True}, "Secure sum On The coordinator saw only sums"),
        ({"secure_sum": False}, "Secure sum Off The coordinator received each site's update"),
    ],
)
def test_protection_is_stated_as_it_was(results, privacy, expected):
    assert expected in Page(render(results | {"privacy": privacy})).text


def test_what_left_the_sites_is_listed_in_full(results, page):
    assert all(item in page.text for item in results["privacy"]["left_the_sites"])


def test_settings_are_the_dotted_keys_that_set_takes(results, page):
    settings = dict(page.table("Setting", "Value")[1:])
    assert settings["strategy.name"] == "fedavg"
    assert settings["training.augmentation.flips"] == "yes"
    assert settings["training.local_updates"] == "–"
    assert float(settings["training.learning_rate"]) == results["federation"]["training"]["learning_rate"]


# --- whatever subset is present ---


@pytest.mark.parametrize("key", OPTIONAL)
def test_any_optional_part_may_be_absent(results, key):
    del results[key]
    assert "Performance" in Page(render(results)).text


NULLABLE = [
    ("rounds", 4, "train_loss"),
    ("rounds", 4, "patients"),
    ("rounds", 4, "seconds"),
    *(("rounds", 4, "validation", key) for key in ("n", "loss", "auc", "auc_ci95")),
    *(("final", "pooled", key) for key in METRIC_KEYS),
    *(("final", "sites", "beijing", key) for key in METRIC_KEYS),
    *(("comparators", "local_only", "pooled", key) for key in METRIC_KEYS),
    *(("flow", "beijing", key) for key in ("included", "excluded", "n_train", "by_rule")),
    *(("explanation", "pooled", "blood", key) for key in ("mean_abs", "mean", "sd")),
    ("explanation", "sites", "beijing", "blood", "mean_abs"),
    *(("privacy", key) for key in ("differential_privacy", "epsilon", "secure_sum", "min_class_count")),
    *(("synthetic_test", "auc", key) for key in ("federated", "centralised", "local_only_mean", "ceiling_bayes")),
    ("synthetic_test", "auc", "centralised", "auc"),
    ("synthetic_test", "trivial_cues", "mean_hu_pre"),
]


@pytest.mark.parametrize("path", NULLABLE, ids=lambda path: ".".join(map(str, path)))
def test_any_value_may_be_null(results, path):
    setting(None, *path)(results)
    page = Page(render(results))
    assert not re.search(r"\bNone\b|\bnan\b", page.text)


@pytest.mark.parametrize("sites", [1, 12, 40])
def test_any_number_of_sites_renders_with_its_own_look(results, sites):
    one = results["final"]["sites"]["beijing"]
    names = [f"site-{number:02d}" for number in range(sites)]
    results["final"]["sites"] = dict.fromkeys(names, one)
    results["final"]["roc"] = dict.fromkeys(["pooled", *names], results["final"]["roc"]["pooled"])
    page = Page(render({key: results[key] for key in ("study", "study_sha256", "rounds", "final")}))
    assert [row[0] for row in performance(page)[1:]] == ["Pooled", *names]
    assert page.html.count('class="line series-0"') >= 1


def test_the_smallest_document_renders(results):
    smallest = {"study": "s", "study_sha256": "0" * 64, "rounds": [], "final": {"pooled": {}}}
    page = Page(render(smallest))
    found = [a["id"] for a in page.named("section")]
    assert (found[:3], found[-1]) == (["result", "performance", "curves"], "provenance")
    assert not {"plan", "sites", "comparison", "subgroups"} & set(found)
    assert "No site released score histograms" in page.text


def test_where_no_site_releases_histograms_the_page_says_so(results):
    results["final"]["roc"] = {}
    for one in results["rounds"]:
        one["validation"] |= {"auc": None, "auc_ci95": None}
    words = Page(render(results)).text
    assert "No site released score histograms" in words
    assert "No validation AUC" in words


def test_an_explanation_that_nobody_released_is_named(results):
    results["explanation"] = {"unit": "logit", "pooled": None, "sites": {}, "suppressed": {"a": "not-released"}}
    words = Page(render(results)).text
    assert "No site released Shapley sums" in words
    assert "a – the site did not release it" in words


def test_unknown_keys_are_ignored(results):
    assert render(results | {"folds": [], "later": {"x": 1}}) == render(results)


def without(*path):
    def change(document):
        for key in path[:-1]:
            document = document[key]
        del document[path[-1]]

    return change


def setting(value, *path):
    def change(document):
        for key in path[:-1]:
            document = document[key]
        document[path[-1]] = value

    return change


@pytest.mark.parametrize(
    ("change", "named"),
    [
        (without("study"), "study"),
        (without("final"), "final"),
        (without("final", "pooled"), "final.pooled"),
        (without("rounds"), "rounds"),
        (setting("0.8", "final", "pooled", "auc"), "final.pooled.auc"),
        (setting(1.2, "final", "pooled", "auc"), "final.pooled.auc"),
        (setting(float("nan"), "final", "pooled", "brier"), "NaN"),
        (setting(-1, "final", "pooled", "n"), "final.pooled.n"),
        (setting([0.5], "final", "pooled", "auc_ci95"), "final.pooled.auc_ci95"),
        (setting({"fpr": [0.0, 1.0], "tpr": [0.0]}, "final", "roc", "pooled"), "final.roc.pooled"),
        (setting({"fpr": [0.0, 1.0], "tpr": [0, 0.5, 1]}, "final", "roc", "pooled"), "differ in length"),
        (setting("xyz", "study_sha256"), "study_sha256"),
        (setting("a\ud800", "study"), "hex escape"),
    ],
)
def test_what_is_no_results_document_is_refused_in_one_line(results, change, named):
    change(results)
    with pytest.raises(Refusal) as refusal:
        render(results)
    assert refusal.value.code == "no-results"
    assert named in str(refusal.value)
    assert "\n" not in str(refusal.value)


# --- written whole ---


def test_the_same_results_give_the_same_bytes(results, tmp_path):
    write_report(results, tmp_path / "a.html")
    write_report(sample_results(), tmp_path / "b.html")
    assert (tmp_path / "a.html").read_bytes() == (tmp_path / "b.html").read_bytes()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.html", "b.html"]


def test_a_refused_document_leaves_the_old_report(results, tmp_path):
    path = tmp_path / "report.html"
    write_report(results, path)
    before = path.read_bytes()
    with pytest.raises(Refusal):
        write_report({"study": "x"}, path)
    assert path.read_bytes() == before


def test_a_missing_folder_is_refused(results, tmp_path):
    with pytest.raises(Refusal, match="unwritable-report"):
        write_report(results, Path(tmp_path / "none" / "report.html"))


# --- formats ---


@pytest.mark.parametrize(
    ("found", "expected"),
    [
        (decimal(-0.25), "\u22120.250"),
        (decimal(None), "–"),
        (interval((0.5, 0.75)), "0.500–0.750"),
        (whole(1234567), "1\u202f234\u202f567"),
        (duration(8.25), "8.2 s"),
        (duration(59.99), "60.0 s"),
        (duration(65), "1 min 05 s"),
        (duration(3725), "1 h 02 min"),
        (duration(None), "–"),
        (player_label("pre_tumour"), "tumour, pre-treatment"),
        (player_label("tumour"), "tumour"),
        (player_label("pre_albumin"), "pre albumin"),
        (sentence("ct_before_surgery"), "CT before surgery"),
        (shortened("abcdefgh", 5), "abcd…"),
        (shortened("abcde", 5), "abcde"),
        (fold_label("fold-1-of-5"), "Fold 1 of 5"),
        (fold_label("without-north-east"), "Without north-east"),
        (signed(-0.0312), "\u22120.031"),
        (signed(0.0312), "+0.031"),
        (signed(-0.0001), "0.000"),
        (signed(None), "–"),
        (p_value(0.0004), "< 0.001"),
        (p_value(0.25), "0.250"),
        (p_value(None), "–"),
        (span_of([8, 12, 9]), "8–12"),
        (span_of([4, 4]), "4"),
        (span_of([]), "–"),
    ],
)
def test_numbers_and_names_read_as_expected(found, expected):
    assert found == expected


@given(st.lists(st.integers(0, 60)))
def test_ranges_name_exactly_the_numbers_given(numbers):
    named = set()
    for part in filter(None, ranges(numbers).split(", ")):
        ends = [int(end) for end in part.split("–")]
        named |= set(range(ends[0], ends[-1] + 1))
    assert named == set(numbers)


def test_a_threshold_that_was_never_chosen_is_not_called_locked(results):
    assert "At the locked threshold" in Page(render(results)).text
    results["final"]["threshold_source"] = "default"
    text = Page(render(results)).text
    assert "At the locked threshold" not in text
    assert "at the default threshold" in text


def test_unknown_protection_is_not_described(results):
    text = Page(render(results | {"privacy": {}})).text
    assert "carry no formal privacy guarantee" not in text
    assert "received each site" not in text


# --- several folds ---


@pytest.fixture(params=["kfold", "loso"])
def folds(request):
    return sample_folds(request.param)


def full(results):
    """A document with everything that one fold can say."""
    return results | sample_start() | {"comparators": sample_comparators()}


def sections(page):
    return [a["id"] for a in page.named("section")]


@pytest.mark.parametrize("make", [lambda: full(sample_results()), sample_folds, lambda: sample_folds("loso")])
def test_every_page_is_safe_linked_and_described(make):
    page = Page(render(make()))
    test_nothing_is_loaded_and_nothing_can_run(page)
    test_every_reference_has_its_target_and_every_id_is_unique(page)
    test_headings_begin_with_one_h1_and_skip_no_level(page)
    assert all(len({len(row) for row in found}) == 1 for found in page.tables)
    assert len(re.findall(r"<desc [^>]*>[^<]+</desc>", page.html)) == sum("role" in a for a in page.named("svg"))
    assert not re.search(r"\bNone\b|\bnan\b", page.text)
    assert page.html == render(make())


def test_the_headline_of_several_folds_counts_folds_and_their_rounds(folds):
    words = Page(render(folds)).text
    label = {"kfold": "Mean AUC over folds", "loso": "Random-effects mean AUC"}[folds["mode"]]
    headline = words[words.index(f"Result {label}") : words.index("Performance on the test set")]
    expected = {"kfold": "Folds 3 2–4 rounds each", "loso": "Folds 5 2–5 rounds each; 1 failed"}
    assert expected[folds["mode"]] in headline
    assert "Rounds 0" not in words
    assert "In every fold the test set was opened once" in headline
    assert "At each fold's own locked threshold, sensitivity was" in headline
    folds["folds"][0]["final"]["threshold_source"] = "default"
    assert "own threshold (in 1 fold the default one)" in Page(render(folds)).text


def test_every_fold_has_a_row_with_its_own_numbers(folds):
    page = Page(render(folds))
    head, *rows = page.table("Fold")
    assert ("Held-out site" in head) == (folds["mode"] == "loso")
    assert len(rows) == len(folds["folds"])
    for row, fold in zip(rows, folds["folds"], strict=True):
        cell = dict(zip(head, row, strict=True))
        assert cell["Fold"] == fold_label(fold["fold"])
        assert cell.get("Held-out site") == fold["held_out"]
        if "failed" in fold:
            assert (cell["State"], cell["AUC"], cell["Rounds"]) == ("failed", "–", "–")
            continue
        pooled = fold["final"]["pooled"]
        assert (cell["State"], cell["Sites lost"]) == ("tested", REJECTED)
        assert (cell["Test patients"], cell["With outcome"]) == (str(pooled["n"]), str(pooled["n_pos"]))
        assert float(cell["AUC"]) == pytest.approx(pooled["auc"], abs=5e-4)
        assert cell["95 % CI"] == interval(pooled["auc_ci95"])
        assert (cell["Rounds"], cell["Kept round"]) == (str(len(fold["rounds"])), str(fold["kept_round"]))


def test_the_plot_of_folds_has_the_mean_and_every_fold(folds):
    page = Page(render(folds))
    spoken = re.search(r'id="fold-auc-desc">([^<]*)<', page.html)[1]
    assert spoken.startswith(f"All folds: {folds['final']['pooled']['auc']:.3f}")
    tested = [fold for fold in folds["folds"] if "failed" not in fold]
    for fold in tested:
        assert f"{fold_label(fold['fold'])}: {fold['final']['pooled']['auc']:.3f}" in spoken
    assert page.html.count(">failed</text>") == len(folds["folds"]) - len(tested)


def test_how_the_folds_became_one_is_said_in_words(folds):
    words = Page(render(folds)).text
    assert "Mean of the folds' AUCs (and calibration), weighted by their patients" in words
    assert "Not drawn over folds" in words
    assert "No site released score histograms" not in words


def test_a_failed_fold_is_a_warning_with_its_reason():
    words = Page(render(sample_folds("loso"))).text
    assert "Failed folds. Their patients are in no figure of this page." in words
    assert f"Without {FAILED} – too few sites took part (no-quorum)" in words
    assert f"{FAILED} : Without {FAILED}: could not be tested while held out: too few sites took part" in words
    assert "Failed folds." not in Page(render(sample_folds("kfold"))).text


def test_a_rejected_update_shows_its_round_and_reason_in_every_fold(folds):
    page = Page(render(folds))
    said = f"round 2: {reason('update-not-finite')}"
    assert said in page.text
    where = {
        "kfold": "In every fold",
        "loso": "Without beijing, Without chengdu, Without henan-cancer, Without shantou",
    }
    assert f"{REJECTED} : {where[folds['mode']]}: {said}" in page.text
    rounds = [found for found in page.tables if found[0][:3] == ["Round", "Sites accepted", "Refused"]]
    assert len(rounds) == sum("failed" not in fold for fold in folds["folds"])
    assert all(found[2][2] == f"{REJECTED} (update-not-finite)" for found in rounds)


def test_what_differs_between_folds_is_not_called_unreleased(folds):
    page = Page(render(folds))
    assert "Training not released" not in page.text
    assert page.table("Site", "Included")[0][2] == "Excluded"
    assert f"Folds, each with its own training patients {len(folds['folds'])}" in page.text
    assert "folds/<fold>/model.safetensors" in page.text


def test_a_temporal_run_has_one_row_of_its_own_results(results):
    page = Page(render(results | {"mode": "temporal", "folds": [], "kept_round": 12}))
    head, row = page.table("Fold")
    cell = dict(zip(head, row, strict=True))
    assert (cell["Fold"], cell["Sites lost"], cell["Rounds"], cell["Kept round"]) == (
        "Latest patients",
        LOST,
        "12",
        "12",
    )
    assert cell["AUC"] == performance(page)[1][3]
    assert "the latest were tested" in page.text
    assert "Rounds 12" in page.text


def test_a_fixed_split_has_no_folds(results):
    assert "folds" not in sections(Page(render(results | {"mode": "split", "folds": []})))


def test_a_fold_that_neither_ended_nor_failed_is_refused(folds):
    del folds["folds"][0]["final"]
    with pytest.raises(Refusal, match=r"folds\.0"):
        render(folds)


@pytest.mark.parametrize("key", ["mode", "comparators", "comparators_unavailable", "federation", "flow", "explanation"])
def test_any_optional_part_of_several_folds_may_be_absent(folds, key):
    del folds[key]
    assert "folds" in sections(Page(render(folds)))


@pytest.mark.parametrize("key", ["rounds", "comparators", "kept_round", "sites_lost", "refused_before_training"])
def test_any_optional_part_of_a_fold_may_be_absent(folds, key):
    del folds["folds"][1][key]
    assert "folds" in sections(Page(render(folds)))


def test_no_text_of_a_fold_becomes_markup():
    def attacked(prefix):
        raw = json.dumps(sample_folds("loso"))
        plain = (*PATIENTS, "update-not-finite", "no-quorum", "fat_stranding_change", "without-beijing")
        for text_ in plain:
            raw = raw.replace(json.dumps(text_), json.dumps(prefix + text_))
        raw = raw.replace('"fusion": ', f"{json.dumps(prefix + 'fusion')}: ")
        document = json.loads(raw)
        document["final"]["auc_method"] = document["mode"] = prefix
        return document

    found, harmless = Page(render(attacked(ATTACK))), Page(render(attacked("x" * len(ATTACK))))
    assert [tag for tag, _ in found.tags] == [tag for tag, _ in harmless.tags]
    assert [a.keys() for _, a in found.tags] == [a.keys() for _, a in harmless.tags]
    assert found.text.count(ATTACK.replace("\u202e", "\ufffd")) > 50


# --- every comparator ---


def test_every_comparator_has_a_name_and_a_meaning():
    labels = {method_label(name) for name in COMPARATORS}
    assert len(labels) == len(COMPARATORS) == 9
    assert not any("_" in label for label in labels)
    assert set(_MEANINGS) == set(COMPARATORS)


def test_every_comparator_stands_with_its_difference_and_meaning(results):
    page = Page(render(full(results)))
    labels = [method_label(name) for name in COMPARATORS]
    head, *rows = page.table("", "Comparison", "AUC", "Difference to the federation")
    assert [row[0] for row in rows] == labels
    assert rows[1][1] == "simulation only"
    assert rows[1][3:] == ["\u22120.031", "\u22120.051 to \u22120.011", "0.002"]
    assert head[-1] == "p"
    assert [
        row[0] for row in page.table("", "Patients", "With outcome", "AUC", "95 % CI", "Sensi\u00adtivity")[2:]
    ] == labels
    assert page.table("Site", "Federated")[0][2:] == labels
    assert all(meaning in page.text for meaning in _MEANINGS.values())


def test_an_undefined_difference_names_its_reason(results):
    document = full(results)
    document["comparators"]["fusion"]["versus_federated"] = {"difference": None, "p": None, "suppressed": "one-class"}
    page = Page(render(document))
    fusion = next(row for row in page.table("", "Comparison") if row[0] == "Fusion")
    assert fusion[3:] == ["–", "–", "–"]
    assert "one-class – all patients have the same outcome" in page.text


def test_fits_show_penalty_features_and_who_was_missing(results):
    head, *rows = Page(render(full(results))).table("", "Penalty C")
    assert head == ["", "Penalty C", "Selected image features", "Sites"]
    assert [row[0] for row in rows] == [method_label(name) for name in COMPARATORS[:4]]
    assert rows[1] == ["Features + clinical", "0.3", "tumour volume post, fat stranding change", "2 sites"]
    assert rows[3][3] == f"2 sites; without {HIDDEN} (class-count-below-minimum)"


def test_fits_over_folds_count_in_how_many_a_feature_was_selected():
    rows = Page(render(sample_folds())).table("", "Penalty C")
    features = next(row for row in rows if row[0] == "Features + clinical")
    assert features[1:3] == ["0.3 (3 of 3)", "tumour volume post (3 of 3), fat stranding change (1 of 3)"]
    assert next(row for row in rows if row[0] == "Fusion")[1] == "0.3 (2 of 2)"


def test_a_comparator_that_some_folds_lack_says_in_how_many(folds):
    words = Page(render(folds)).text
    of = sum("failed" not in fold for fold in folds["folds"])
    assert f"Fusion (1 of {of} folds) – too few sites took part (no-quorum)" in words
    folds["folds"][1]["comparators"]["ensemble"] = {"unavailable": "no-local-model"}
    assert f"Ensemble of local models (1 of {of} folds) – {reason('no-local-model')}" in Page(render(folds)).text


def test_comparators_that_could_not_be_had_are_named_even_alone(results):
    del results["comparators"], results["synthetic_test"]
    words = Page(
        render(results | {"comparators_unavailable": {"fusion": "not-converged", "clinical": "new-code"}})
    ).text
    assert "Not available Fusion – the fit did not converge (not-converged)" in words
    assert "Clinical – new-code" in words


def test_the_synthetic_test_set_shows_every_way_of_training(results):
    results["synthetic_test"]["auc"] |= {"fusion": {"auc": 0.83}, "features_clinical": {"auc": 0.79}}
    spoken = re.search(r'id="synthetic-auc-desc">([^<]*)<', render(results))[1]
    assert "Fusion: 0.830" in spoken
    assert "Features + clinical: 0.790" in spoken
    assert "Clinical:" not in spoken


# --- start, selection, personalisation ---


def test_the_kept_round_is_named_with_its_reason_and_marked_in_the_plot(results):
    for one in results["rounds"]:
        one["validation"]["loss"] = None
    page = Page(render(full(results)))
    kept = "Model kept round 9 of 12: it had the lowest loss on the validation patients; validation loss 0.610"
    assert kept in page.text
    assert "Kept: round 9" in page.text
    assert "Validation loss 0.710 at round 0, 0.660 at round 12" in page.html


@pytest.mark.parametrize(
    ("kept", "chosen", "expected"),
    [
        (12, "last-round", "round 12 of 12: the settings keep the last round's model"),
        (12, "no-validation-released", "round 12 of 12: the best was to be kept, but no site released"),
        (0, "best-validation", "the initial model, before 12 rounds: it had the lowest loss"),
        (3, "some-new-reason", "round 3 of 12: some-new-reason"),
    ],
)
def test_every_reason_of_selection_is_in_words(results, kept, chosen, expected):
    selection = {"reason": chosen, "validation_loss": [None] * 13}
    assert f"Model kept {expected}" in Page(render(results | {"kept_round": kept, "selection": selection})).text


@pytest.mark.parametrize(("keep", "words"), [("last", "that of the last round"), ("best", "that with the lowest loss")])
def test_the_rule_of_selection_over_folds_comes_from_the_settings(keep, words):
    folds = sample_folds()
    folds["federation"]["selection"]["keep"] = keep
    page = Page(render(folds))
    assert f"Model kept In every fold {words}" in page.text
    assert "(rounds 1–3)" in page.text
    assert "Model kept round 2 of 3; validation loss" in page.text


def test_a_warm_start_shows_counts_and_hash_and_no_path(results):
    words = Page(render(full(results))).text
    assert "Warm start 3 of the model's 6 tensors taken from a file (1\u202f200 parameters)" in words
    assert "1 of another shape, 2 not in the file, 1 of the file unused. SHA-256 of the file: " + "ab" * 32 in words
    assert "someone" not in words


def test_a_path_cannot_pass_for_the_hash_of_a_warm_start(results):
    document = full(results)
    document["warm_start"]["file_sha256"] = "/home/someone/weights.safetensors"
    with pytest.raises(Refusal, match=r"warm_start\.file_sha256"):
        render(document)


def test_pretraining_shows_its_rounds_and_who_was_refused(results):
    page = Page(render(full(results)))
    assert "Pretraining 2 rounds of self-supervised training" in page.text
    assert "loss 0.900 in the first, 0.500 in the last" in page.text
    found = page.table("Round", "Sites accepted", "Refused", "Patients", "Loss")
    assert found[1] == ["1", "beijing", "wuhan (update-too-large)", "60", "0.900", "–"]
    assert f"wuhan : pretraining round 1: {reason('update-too-large')}" in page.text


@pytest.mark.parametrize("kind", ["ditto", "local_head", "local_norm"])
def test_personalisation_is_explained_and_so_is_that_nothing_is_compared(results, kind):
    own = {"ditto": "held near the shared one", "local_head": "kept a head", "local_norm": "normalisation layers"}
    document = full(results) | {"personalisation": {"kind": kind, "attraction": 0.1}}
    for entry in document["comparators"].values():
        del entry["versus_federated"]
    document["final"]["comparisons"] = []
    words = Page(render(document)).text
    assert own[kind] in words
    assert words.count("no paired difference from the shared model is computed") == 2
    assert "Difference to the federation" not in words


def test_personalisation_over_folds_is_read_from_the_settings():
    folds = sample_folds() | {"personalisation": None}
    assert "Personalisation" not in Page(render(folds)).text
    folds["federation"]["personalisation"]["kind"] = "ditto"
    assert "Personalisation Each site also trained a model of its own" in Page(render(folds)).text


@pytest.mark.parametrize(
    "code",
    ["update-not-finite", "update-too-large", "update-wrong-size", "update-without-patients", "study-mismatch"],
)
def test_a_site_whose_update_was_rejected_appears_with_round_and_reason(results, code):
    results["rounds"][6]["refused"] = {"beijing": code}
    page = Page(render(results))
    assert f"beijing : round 7: {REASONS[code]} ({code})" in page.text
    assert page.table("Round", "Sites accepted", "Refused")[7][2] == f"beijing ({code})"


@pytest.mark.parametrize("key", [*sample_start(), "comparators"])
def test_documents_without_the_newer_keys_still_render(results, key):
    document = full(results)
    del document[key]
    assert "Performance" in Page(render(document)).text
