"""docs/verification/evaluation.md and its plot, out of the summaries."""

from collections.abc import Mapping, Sequence
from datetime import date
from pathlib import Path

import numpy as np
from evaluation_pooled import BETWEEN, BINS, PLANNED, SHARES
from evaluation_scores import HARDER, SETTINGS, SIZES, true_auc
from evaluation_sites import FEDERATIONS, MEAN_AUC
from evaluation_summary import COVERED, GOALS, Goal, Summary

Summaries = Mapping[str, Summary]


def as_markdown(pooled: Summaries, sites: Summaries, seconds: float, remarks: str) -> str:
    """The whole document; ``remarks`` is prose that a person keeps beside it."""
    asked, harder = ([one.name for one in group] for group in (SETTINGS, HARDER))
    lines = ["# Evaluation against the pooled patients, and coverage of its intervals", "", _setting(pooled, seconds)]
    lines += ["", "## Goals", "", *_goals(pooled, asked), ""]
    lines += ["## Harder than asked: an overfitted model", "", _HARDER, "", *_goals(pooled, harder), ""]
    lines += ["## More figures", "", _MORE, "", *_more(pooled), ""]
    lines += ["## Coverage of Wilson's intervals", "", _WILSON, "", *_wilson(pooled), ""]
    lines += ["## Coverage of the meta-analysis", "", _META, "", *_meta(sites), "", remarks.strip(), ""]
    return "\n".join(lines)


def _setting(pooled: Summaries, seconds: float) -> str:
    simulations = pooled[SETTINGS[0].name]["simulations"]
    areas = sorted({f"{true_auc(setting):.3f}" for setting in SETTINGS})
    sizes, truth = ", ".join(map(str, SIZES)), " or ".join(areas)
    return f"""{date.today().isoformat()}: {simulations} simulations of each setting, {seconds / 60:.0f} minutes on one
core. Five sites of {sizes} test patients, as many train and half as many validate; binormal scores, so
that the true AUC ({truth}) is known in closed form. Every simulation runs the federation's own functions: edges
near {BINS} quantiles of the training scores and at the logits of planned decision thresholds, Youden's threshold on
validation patients, AUC and DeLong variance from the summed histograms, recalibration by summed Newton terms. Beside
them stand scikit-learn, statsmodels and all pairs of the pooled patients. Sites shifted: prevalence .20 to .45, and the
model's logits move between sites with SD .8. `make verify` writes this file, and its plot to
out/verify/evaluation/coverage.svg."""


_HARDER = """Logits eight times too large, and its training patients pulled apart by memory (training AUC .999), so that
the quantiles of the training scores lie where few test patients fall."""
_MORE = f"""Net benefit between the edges is at {", ".join(map(str, BETWEEN))}, which no plan named: there it is linear
within a bin. At the planned {", ".join(map(str, PLANNED))} it is exact."""
_WILSON = """Pooled patients, at the threshold locked on the validation patients; the truth is that of this threshold.
Simulation error of a coverage: about .005."""
_META = f"""Sites' true logit AUCs are normal around that of {MEAN_AUC} with SD tau; sites send exact AUCs and DeLong
variances. `mean`: the Hartung-Knapp interval holds {MEAN_AUC}. `new site`: chance that the prediction interval holds
the true AUC of a new site. `left out`: sites without a usable logit, per federation. `5 x patients`: 600 to 125 a
site."""


def _goals(pooled: Summaries, names: Sequence[str]) -> list[str]:
    rows = [[goal.words, goal.range, *(_judged(goal, pooled[name]) for name in names)] for goal in GOALS]
    return table(["what", "goal", *names], rows)


def _judged(goal: Goal, summary: Summary) -> str:
    value = summary[goal.key]
    shown = f"{value:.3f}" if goal.key.endswith(COVERED) else _small(value)
    return shown if goal.reached(summary) else f"{shown} MISSED"


def _more(pooled: Summaries) -> list[str]:
    head = ["setting", "AUC bias", "SE mean error", "intercept, largest", "net benefit between edges: mean", "largest"]
    keys = ("auc_error_bias", "se_error_mean", "intercept_error_max", "net_benefit_between_mean")
    return table(
        head,
        [[name, *(_small(one[key]) for key in (*keys, "net_benefit_between_max"))] for name, one in pooled.items()],
    )


def _wilson(pooled: Summaries) -> list[str]:
    rows = [[name, *(f"{one[f'{share}{COVERED}']:.3f}" for share in SHARES)] for name, one in pooled.items()]
    return table(["setting", *SHARES], rows)


def _meta(sites: Summaries) -> list[str]:
    head = ["federation", "mean", "new site", "mean estimate of tau", "left out", "no interval"]
    keys = ("mean_covered", "new_covered", "tau", "left_out")
    rows = [
        [name, *(f"{one[key]:.3f}" for key in keys), f"{one['mean_covered_missing']:g}"] for name, one in sites.items()
    ]
    return table(head, rows)


def _small(value: float) -> str:
    return f"{value:.1e}" if 0 < abs(value) < 1e-4 else f"{value:.4f}"


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    return [f"| {' | '.join(cells)} |" for cells in (head, ["---"] * len(head), *rows)]


def plot(pooled: Summaries, sites: Summaries, path: Path) -> None:
    """Every coverage with its simulation error, over the band of 93 to 97 %."""
    from matplotlib.figure import Figure

    rows = _coverages(pooled, sites)
    figure = Figure(figsize=(8, 0.24 * len(rows) + 1))
    axes = figure.add_subplot()
    axes.axvspan(0.93, 0.97, color="0.9")
    axes.axvline(0.95, color="0.5", linewidth=0.8)
    places = np.arange(len(rows))[::-1]
    shares = np.array([share for _, share, _ in rows])
    errors = [1.96 * np.sqrt(share * (1 - share) / n) for _, share, n in rows]
    axes.errorbar(shares, places, xerr=errors, fmt="o", markersize=4, linewidth=1)
    axes.set_yticks(places, [name for name, _, _ in rows], fontsize=7)
    axes.set_xlabel("share of intervals that hold the truth")
    figure.tight_layout()
    figure.savefig(path)


def _coverages(pooled: Summaries, sites: Summaries) -> list[tuple[str, float, float]]:
    found = [(f"pooled AUC: {name}", one["auc_covered"], one["simulations"]) for name, one in pooled.items()]
    for federation in FEDERATIONS:
        one = sites[federation.name]
        found += [(f"mean AUC: {federation.name}", one["mean_covered"], one["simulations"])]
        found += [(f"new site: {federation.name}", one["new_covered"], one["simulations"])]
    return found
