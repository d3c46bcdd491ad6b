"""What several folds show beyond their pooled METRICS: how sites differ, paired tests and subgroups."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

from fedescc.server.evaluation.comparison import difference_entry
from fedescc.server.evaluation.curves import no_curves
from fedescc.server.evaluation.fairness import fairness_gaps
from fedescc.server.evaluation.heterogeneity import BOOTSTRAP_METHOD, meta_entry, within_entry
from fedescc.server.evaluation.pooling import pool_finals
from fedescc.server.evaluation.primary import held_out_entry, primary_entry
from fedescc.server.evaluation.subgroups import show_levels
from fedescc.server.evaluation.told import SEVERAL_MODELS, add_documents

DIFFERENCE_METHOD = (
    "mean of the folds' differences, weighted by their patients; the interval has each fold's DeLong variance, no "
    "covariance between folds and no difference between sites"
)

Final = Mapping[str, Any]


def pool_evaluations(mode: str, finals: Sequence[Final], told: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """``final`` over folds. What needs the scores of one model, such as a curve, is null with its reason.

    Where every site is held out once, the main figure is the random-effects mean of the sites' AUCs, each of a model
    that never saw the site, with the interval for a site that is still to come.

    Args:
        mode: the run's.
        finals: of the folds.
        told: of every fold what its sites told of subgroups.

    """
    pooled = pool_finals(finals)
    subgroups = show_levels(add_documents(told), pooled["sites"])
    entry = {
        **pooled,
        "roc": {},
        **no_curves(SEVERAL_MODELS),
        "meta": meta_entry(pooled["sites"]),
        "auc_within_site": within_entry(pooled["sites"]),
        "bootstrap": {
            "auc_ci95": None,
            "draws": None,
            "method": BOOTSTRAP_METHOD,
            "suppressed": {"auc_ci95": SEVERAL_MODELS},
        },
        "comparisons": _pool_comparisons(finals),
        "subgroups": subgroups,
        "fairness": fairness_gaps(subgroups),
    }
    return entry | {"primary": _primary(mode, finals, entry)}


def _primary(mode: str, finals: Sequence[Final], entry: Final) -> dict[str, Any]:
    return held_out_entry(entry) if mode == "loso" else primary_entry(entry, finals[0]["primary"]["metric"])


def _pool_comparisons(finals: Sequence[Final]) -> list[dict[str, Any]]:
    """Every comparator's differences over the folds that have one: their mean by patients, and its z test.

    The folds' patients are disjoint; covariance between their models is not counted.
    """
    by_model: dict[str, list[tuple[int, Mapping[str, Any]]]] = {}
    for final in finals:
        for one in final["comparisons"]:
            by_model.setdefault(one["model"], []).append((final["pooled"]["n"], one))
    return [_pool_comparison(entries) for _, entries in sorted(by_model.items())]


def _pool_comparison(entries: Sequence[tuple[int, Mapping[str, Any]]]) -> dict[str, Any]:
    known = [(n, one) for n, one in entries if one["difference"] is not None]
    if not known:
        return {key: value for key, value in entries[0][1].items() if key != "sites"}
    total = sum(n for n, _ in known)
    difference = math.fsum(n / total * one["difference"] for n, one in known)
    error = math.sqrt(math.fsum((n / total * one["standard_error"]) ** 2 for n, one in known))
    p = math.erfc(abs(difference / error) / math.sqrt(2))
    head = {key: known[0][1][key] for key in ("model", "versus")}
    tail = {key: known[0][1][key] for key in ("planned", "primary")}
    return head | difference_entry(difference, error, p) | tail | {"folds": len(known), "method": DIFFERENCE_METHOD}
