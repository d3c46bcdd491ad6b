"""What the plan says in words, for the terminal and the page alike: rows of text, no layout."""

from collections.abc import Mapping
from typing import Any

from fedescc.server.report.formats import DASH, decimal, interval, method_label, mode_label, words

_ROLES = {
    "own_results": "own results",
    "sums_only": "secure sums only",
    "not_told": "outcomes not told",
}
_FIGURES = {"sensitivity": "Sensitivity", "specificity": "Specificity", "ppv": "PPV", "npv": "NPV"}
_ASSUMED = (
    "Expected intervals assume that scores are normal in both classes, as spread in one as in the other, and "
    "calibrated; that sites let their score histograms out or add them up under encryption; and, of a prediction "
    "interval, that the sites' logit AUCs differ by an SD of tau."
)
_EVENTS = (
    "EPP: training patients with the outcome for each parameter. Riley's minimum is for regression without a penalty; "
    "one, as ours has, does not make up for patients (Riley et al., J. Clin. Epidemiol. 132 (2021) 88)."
)
_BEYOND = (
    "No formula tells how many patients a deep network needs: its weights far outnumber the events, and what keeps it "
    "from overfitting is not in Riley's criteria. Compare it with the regressions, on test patients."
)

Rows = list[tuple[str, ...]]
Document = Mapping[str, Any]


def site_rows(plan: Document) -> Rows:
    """A row a site: included, training, validation and test patients as ``positives / patients``, and its role."""
    return [
        (site, *(_cell(entry["splits"][name]) for name in ("train", "validation", "test")), _cell(entry["included"]),
         _ROLES[entry["role"]])
        for site, entry in plan["sites"].items()
    ]  # fmt: skip


def width_rows(plan: Document) -> Rows:
    """A row an assumed AUC: pooled interval, narrowest and widest of the sites', and prediction intervals."""
    rows: Rows = []
    for entry in plan["precision"]["at"]:
        widths = [site["width"] for site in entry["sites"].values() if site["width"] is not None]
        spread = f"{decimal(min(widths))} to {decimal(max(widths))}" if widths else DASH
        low, high = (next(one for one in entry["prediction"] if one["tau"] == tau) for tau in (0.1, 0.3))
        rows.append(
            (
                decimal(entry["auc"], 2),
                _interval(entry["pooled"]),
                decimal(entry["pooled"]["width"]),
                spread,
                _interval(low),
                _interval(high),
            )
        )
    return rows


def calibration_rows(plan: Document) -> Rows:
    """A row an assumed AUC: calibration slope and O/E of a calibrated model."""
    return [
        (decimal(entry["auc"], 2), _interval(entry["calibration_slope"]), _interval(entry["observed_expected"]))
        for entry in plan["precision"]["at"]
    ]


def threshold_rows(plan: Document) -> Rows:
    """A row a figure at the planned threshold, at the AUC that the plan assumes."""
    at = next((one for one in plan["precision"]["at"] if one["auc"] == plan["assumed"]["auc"]), None)
    if at is None:
        return []
    found = at["at_threshold"]
    return [
        (label, decimal(found[key]["expected"]), _interval(found[key]), str(found[key]["n"]))
        for key, label in _FIGURES.items()
    ]


def development_rows(plan: Document) -> Rows:
    """A row a model and a way to count its parameters, against Riley's minimum."""
    rows: Rows = []
    for name, model in plan["development"]["models"].items():
        if "fitted" not in model:
            rows.append((method_label(name), f"{model['weights']} weights", *[DASH] * 4, "no formula"))
            continue
        kinds = [("fitted", model["fitted"])]
        if model["candidates"] != model["fitted"]:
            kinds = [("fitted at most", model["fitted"]), ("to choose from", model["candidates"])]
        rows += [_need_row(method_label(name), kind, need) for kind, need in kinds]
    return rows


def subgroup_rows(plan: Document) -> Rows:
    """A row a level: patients that sites told, expected test patients, and how many sites can show it."""
    sites = len(plan["sites"])
    return [
        (
            words(name),
            level,
            _told(one, sites),
            f"{one['tested']:.0f}",
            f"{one['expected_sites']:.1f} of {sites}",
            ", ".join(one["likely_sites"]) or "none likely",
        )
        for name, levels in plan["subgroups"].items()
        for level, one in levels.items()
    ]


def budget_rows(plan: Document) -> Rows:
    """A row a site: sampling rate, steps, epsilon by PRV and by RDP."""
    return [
        (
            site,
            decimal(cost.get("sampling_rate")),
            str(cost.get("steps", DASH)),
            decimal(cost["epsilon"], 2),
            decimal(cost.get("epsilon_rdp"), 2),
        )
        for site, cost in plan["privacy"]["sites"].items()
    ]


def remarks(plan: Document) -> list[str]:
    """What a reader must know beside the tables."""
    precision, development, privacy = plan["precision"], plan["development"], plan["privacy"]
    found = [_ASSUMED, _EVENTS]
    found += [
        f"Not counted in {what}, because they keep the counts: {', '.join(entry['sites_left_out'])}."
        for what, entry in (("the test patients", precision), ("the training patients", development))
        if entry["sites_left_out"]
    ]
    if any("reason" in model for model in development["models"].values()):
        found.append(_BEYOND)
    return [*found, *_privacy_remarks(privacy)]


def assumptions(plan: Document) -> str:
    """One line: what the plan takes for granted."""
    assumed, precision = plan["assumed"], plan["precision"]
    mode = mode_label(assumed["mode"]) + (f" in {assumed['folds']} folds" if assumed["mode"] == "kfold" else "")
    tested = f"{precision['n_pos']} of {precision['n']} patients tested have the outcome"
    return f"{mode}; {tested}; assumed AUC {decimal(assumed['auc'], 2)}"


def _privacy_remarks(privacy: Document) -> list[str]:
    if not privacy["differential_privacy"]:
        return ["This run has no differential privacy: no epsilon bounds what its model tells, and nothing is charged."]
    settings = f"noise multiplier {privacy['noise_multiplier']:g} and delta {privacy['delta']:g}"
    first = (
        f"Epsilon is that of the training updates alone, for each patient, at {settings}. Every other release that "
        "depends on patients would be charged beside it, or refused:"
    )
    return [first, *(f"- {text}" for text in privacy["charged_beside_training"])]


def _need_row(label: str, kind: str, need: Document) -> tuple[str, ...]:
    if "needed" not in need:
        return (label, f"{need['parameters']} {kind}", *[DASH] * 4, DASH)
    needed = need["needed"]
    return (
        label,
        f"{need['parameters']} {kind}",
        decimal(need["events_per_parameter"], 1),
        str(needed["patients"]),
        decimal(needed["events_per_parameter"], 1),
        decimal(need["expected_shrinkage"], 2),
        "yes" if need["enough"] else "no",
    )


def _cell(cell: Document) -> str:
    shown = ["kept" if cell[key] is None else str(cell[key]) for key in ("positives", "patients")]
    return " / ".join(shown)


def _told(level: Document, sites: int) -> str:
    """Patients over the sites that told them, and how many sites kept them."""
    kept = len(level["kept_by"])
    if kept == sites:
        return "kept"
    return f"{level['positives']} / {level['patients']}" + (f", {kept} kept" if kept else "")


def _interval(entry: Document) -> str:
    return interval(None if entry["width"] is None else (entry["low"], entry["high"]))
