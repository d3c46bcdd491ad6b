"""docs/verification/learning.md and its plots, out of the measured numbers."""

from collections.abc import Sequence
from datetime import date
from statistics import mean, stdev
from typing import Any

from learning_patients import SIZES, TEST_PATIENTS

from fedescc.server.report import svg
from fedescc.server.report.charts import Row, interval_chart
from fedescc.server.report.markup import Html, el, section
from fedescc.server.report.page import document_page
from fedescc.server.report.svg import Frame, look
from fedescc.simulations.patients.outcome import IMAGE_LATENTS

Measured = dict[str, Any]

MODELS = (
    "ceiling_bayes", "ceiling_latent_regression", "federated", "fusion", "features_clinical",
    "clinical", "centralised", "ensemble", "local_only_mean", "cue",
)  # fmt: skip
GOALS = {
    "federated_share": ("federated deep model: share of (ceiling - .5)", 0.60),
    "of_centralised": ("federated deep model: share of the centralised gain", 0.85),
    "over_local": ("federated deep model above the mean local-only one", 0.06),
    "fusion_share": ("fusion of deep, hand-crafted and clinical features: share of (ceiling - .5)", 0.72),
    "cue_gap": ("ceiling above the best trivial cue", 0.08),
}
MOST_LOSS = 0.04  # of leave-one-site-out


def measured(main: Measured, unseen: dict[str, dict[str, float]] | None) -> Measured:
    """One seed's AUCs under one name each, and the goals they are judged by; of some seeds no site was held out."""
    found = main["auc"]
    areas = {name: found[name]["auc"] for name in MODELS if name in found and name != "local_only_mean"}
    cues = [max(value, 1 - value) for value in main["trivial_cues"].values()]
    areas |= {"local_only_mean": found["local_only_mean"], "cue": max([*cues, areas["clinical"]])}
    gain = areas["ceiling_latent_regression"] - 0.5
    return {
        **areas,
        "federated_share": (areas["federated"] - 0.5) / gain,
        "of_centralised": (areas["federated"] - 0.5) / (areas["centralised"] - 0.5),
        "over_local": areas["federated"] - areas["local_only_mean"],
        "fusion_share": (areas["fusion"] - 0.5) / gain,
        "cue_gap": areas["ceiling_latent_regression"] - areas["cue"],
        **({} if unseen is None else {"loso_loss": _lost(unseen)}),
    }


def _lost(unseen: dict[str, dict[str, float]]) -> float:
    weights = dict(zip(sorted(unseen), SIZES, strict=True))
    return sum(weights[site] * (one["seen"] - one["unseen"]) for site, one in unseen.items()) / sum(SIZES)


def as_point(main: Measured) -> Measured:
    """A main run as a point of the curve over the number of patients."""
    areas = main["auc"]
    return {
        "factor": 1.0,
        "training": main["training"],
        "federated": areas["federated"]["auc"],
        "ceiling": areas["ceiling_latent_regression"]["auc"],
        **main["follows"]["federated"],
    }


def reached(rows: Sequence[Measured]) -> bool:
    """Whether every goal is met on the mean of the seeds."""
    goals = all(_mean(rows, key) >= least for key, (_, least) in GOALS.items())
    return goals and _mean(rows, "loso_loss") <= MOST_LOSS


def as_markdown(seeds: Sequence[Measured], rows: Sequence[Measured], curve: Sequence[Measured], remarks: str) -> str:
    """The whole document; ``remarks`` is prose that a person keeps beside it."""
    names = [f"seed {seed['seed']}" for seed in seeds]
    models = [[name, *(f"{row[name]:.3f}" for row in rows), f"{_mean(rows, name):.3f}"] for name in MODELS]
    head = ["times", "training patients", "federated", "ceiling", "share", *(f"r {name}" for name in IMAGE_LATENTS)]
    lines = ["# Learning against a known ceiling", "", _setting(seeds), ""]
    lines += ["## Goals", "", *_table(["what", "goal", *names, "mean", "SE", ""], _goal_rows(rows)), ""]
    lines += ["## AUC of every model", "", *_table(["model", *names, "mean"], models), "", _LEGEND, ""]
    lines += ["## Which latents the scores follow", "", _FOLLOWS, ""]
    lines += [*_table(["score", *IMAGE_LATENTS], _follow_rows(seeds)), ""]
    lines += ["## More patients", "", f"The federated deep model of {names[0]}, every site so many times as large.", ""]
    lines += [*_table(head, [_curve_row(point) for point in curve]), "", remarks.strip(), ""]
    return "\n".join(lines)


_LEGEND = """`ceiling_latent_regression`: logistic regression on the phantom's true latents, fitted on the same training
patients. `cue`: the best of ROI volumes, their ratio, mean HU and the clinical regression."""
_FOLLOWS = "Pearson's r with the true latent, mean over the seeds; `truth` is the true log odds."


def _setting(seeds: Sequence[Measured]) -> str:
    shares = [seed["positive"] for seed in seeds]
    sizes, training = ", ".join(map(str, SIZES)), ", ".join(str(seed["training"]) for seed in seeds)
    return f"""{date.today().isoformat()}: five sites of {sizes} patients (the ineligible among them),
{training} training patients, AUC on {TEST_PATIENTS} extra patients of the same scanners (standard error about .012),
outcome in {min(shares):.0%} to {max(shares):.0%} of them. The shipped study and settings; the phantom was frozen before
anything was tuned, and seeds 0-5 took no part in the tuning (10 and 11 did). `make verify` writes this file, and its
plots to out/verify/learning/learning.html."""


def as_page(rows: Sequence[Measured], curve: Sequence[Measured]) -> str:
    """Both plots on one page."""
    models = [
        Row(name, look(place), _mean(rows, name), (min(r[name] for r in rows), max(r[name] for r in rows)),
            strong=name in {"federated", "fusion"})
        for place, name in enumerate(MODELS)
    ]  # fmt: skip
    words = ". ".join(f"{row.label}: {row.value:.3f}" for row in models)
    dots = svg.figure(
        interval_chart("models", "AUC by model", words, models), "Models", "Mean and range over the seeds."
    )
    header = el("header", el("p", "Verification", class_="eyebrow"), el("h1", "Learning against a known ceiling"))
    main = el(
        "main", section("models-section", "Models", dots), section("curve-section", "More patients", _curve(curve))
    )
    footer = el("footer", "Synthetic patients. All numbers are in learning.md.")
    return document_page("Learning against a known ceiling", el("body", header, main, footer))


def _curve(curve: Sequence[Measured]) -> Html:
    marks = svg.nice_ticks(0, max(point["training"] for point in curve))
    frame = Frame(46, 34, 450, 300, (0, marks[-1]), (0.5, 1.0))
    names = ("ceiling", "federated")
    shapes = []
    for place, name in enumerate(names):
        points = frame.place([(point["training"], point[name]) for point in curve])
        shapes += [svg.line(points, look(place)), *(svg.marker(point, look(place)) for point in points)]
    axes = [
        svg.y_axis(frame, [0.5, 0.6, 0.7, 0.8, 0.9, 1.0], "AUC"),
        svg.x_axis(frame, marks, "training patients", digits=0),
    ]
    words = ". ".join(f"{p['training']} patients: {p['federated']:.3f} of {p['ceiling']:.3f}" for p in curve)
    drawing = svg.canvas("curve", "AUC by number of training patients", words, 350, *axes, *shapes)
    legend = svg.legend([(look(place), name) for place, name in enumerate(names)])
    return svg.figure(drawing, "More patients", "The federated deep model and its ceiling.", legend)


def _goal_rows(rows: Sequence[Measured]) -> list[list[str]]:
    found = []
    for key, (words, least) in GOALS.items():
        verdict = "reached" if _mean(rows, key) >= least else "MISSED"
        found.append([words, f">= {least:.2f}", *_numbers(rows, key), verdict])
    verdict = "reached" if _mean(rows, "loso_loss") <= MOST_LOSS else "MISSED"
    words = "leave-one-site-out: loss on the held-out sites' extra patients"
    return [*found, [words, f"<= {MOST_LOSS}", *_numbers(rows, "loso_loss"), verdict]]


def _numbers(rows: Sequence[Measured], key: str) -> list[str]:
    """Every seed's value, their mean and its standard error between seeds."""
    values = [row[key] for row in rows if key in row]
    error = stdev(values) / len(values) ** 0.5
    return [*(f"{row[key]:.3f}" if key in row else "" for row in rows), f"{_mean(rows, key):.3f}", f"{error:.3f}"]


def _follow_rows(seeds: Sequence[Measured]) -> list[list[str]]:
    found = []
    for name in ("truth", "federated", "fusion"):
        follows = [seed["follows"][name] for seed in seeds]
        found.append([name, *(f"{_mean(follows, latent):.2f}" for latent in IMAGE_LATENTS)])
    return found


def _curve_row(point: Measured) -> list[str]:
    share = (point["federated"] - 0.5) / (point["ceiling"] - 0.5)
    cells = [f"{point['factor']:g}", str(point["training"]), f"{point['federated']:.3f}", f"{point['ceiling']:.3f}"]
    return [*cells, f"{share:.2f}", *(f"{point[latent]:.2f}" for latent in IMAGE_LATENTS)]


def _mean(rows: Sequence[Measured], key: str) -> float:
    return float(mean(row[key] for row in rows if key in row))


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    return [f"| {' | '.join(cells)} |" for cells in (head, ["---"] * len(head), *rows)]
