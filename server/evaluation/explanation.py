"""Mean |SHAP| by player, per site and n-weighted over sites, from sums of exact Shapley values; gates, rank stability.

Of the run's own model the players are the study's; of a comparator, and in ``columns`` of a linear network, every
column is one.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fedescc.common import wire
from fedescc.common.players import player_names
from fedescc.common.statistics.ranks import BOOTSTRAP_DRAWS, kendall_w
from fedescc.common.statistics.shapley import ShapleySums
from fedescc.common.sums import add_up
from fedescc.common.tabular.covariates import Encoding
from fedescc.server.evaluation.evaluate import Evaluator
from fedescc.server.evaluation.explanation_gates import gate_entries, local_baseline_entry
from fedescc.server.evaluation.explanation_replies import ExplanationShare, explanation_share, reference_share
from fedescc.server.replies import NOT_RELEASED

MEANS, AT_ZERO = "federated-means", "zero"
_OF_ITS_MODELS = "explained-by-its-models"

Floats = NDArray[np.float64]
Shares = dict[str, ExplanationShare]


def explain(evaluator: Evaluator) -> dict[str, Any]:
    """The explanation of one model that has looked at the test set: the run's own, or a comparator.

    Sites that keep their sums are named under ``suppressed`` with the reason. A removed clinical input shows the
    federation's mean over the training patients (``reference``), or 0 where no site gives sums. A fusion has no inputs
    of its own: ``pooled`` is null and ``reason`` says so.
    """
    if "models" in evaluator.task:
        return {"unit": "logit", "pooled": None, "sites": {}, "reason": _OF_ITS_MODELS}
    columns = Encoding.model_validate(evaluator.task["encoding"]).columns
    reference = _reference(evaluator, len(columns))
    asked = {"reference": reference["values"]}
    if evaluator.task.get("model") is not None:
        return _entry(evaluator, columns, reference, asked)
    entry = _entry(evaluator, player_names(evaluator.study), reference, asked)
    if evaluator.study.imaging is None:
        entry["columns"] = _entry(evaluator, columns, reference, asked | {"players": "columns"})
    return entry


def player_entries(names: Sequence[str], sums: ShapleySums) -> dict[str, dict[str, Any]]:
    """Name -> n, mean |φ|, mean φ and SD; null where too few patients have the player."""
    return {
        name: {"n": row.n, "mean_abs": row.mean_absolute, "mean": row.mean, "sd": row.standard_deviation}
        for name, row in zip(names, sums.players(), strict=True)
    }


def rank_entries(names: Sequence[str], shares: Mapping[str, ExplanationShare]) -> dict[str, Any]:
    """How stable the players' ranks by mean |φ| are: within sites over bootstrap samples, across sites by Kendall's W.

    ``sites`` has mean rank and SD of every player that a site shows; W is over the players that all of them show.
    A hole in a scan moves every patient's logit by about as much, which mean |φ| counts and the SD of φ does not:
    ``by_sd`` orders the players by how differently they bear on patients, and has its own W.
    """
    sites = {site: _ranks(names, share) for site, share in shares.items()}
    common = np.all([share.sums.n > 0 for share in shares.values()], axis=0)
    means = [share.sums.absolute[common] / share.sums.n[common] for share in shares.values()]
    agreement, by_sd = (
        kendall_w(np.array(means)),
        kendall_w(np.array([_spread(s.sums)[common] for s in shares.values()])),
    )
    spread = _spread(add_up(share.sums for share in shares.values()))
    entry = {
        "sites": sites,
        "kendall_w": agreement.value,
        "players_compared": int(common.sum()),
        "by_sd": {"order": [names[place] for place in np.argsort(-spread, kind="stable")], "kendall_w": by_sd.value},
    }
    reason = agreement.reason or by_sd.reason
    return entry | ({} if reason is None else {"reason": reason})


def _entry(
    evaluator: Evaluator, names: Sequence[str], reference: dict[str, Any], asked: dict[str, Any]
) -> dict[str, Any]:
    shares, hidden = _ask(evaluator, lambda reply: explanation_share(reply, len(names)), asked)
    pooled = player_entries(names, add_up(share.sums for share in shares.values())) if shares else None
    entry = {
        "unit": "logit",
        "reference": reference,
        "pooled": pooled,
        "sites": {site: player_entries(names, share.sums) for site, share in shares.items()},
        "gates": gate_entries(names, shares) if shares else {},
        "rank_stability": rank_entries(names, shares) if shares else None,
        "local_baseline": local_baseline_entry(names, shares),
    }
    return entry | ({"suppressed": hidden} if hidden else {})


def _ask(
    evaluator: Evaluator, parse: Callable[[wire.Reply], ExplanationShare | None], asked: dict[str, Any]
) -> tuple[Shares, dict[str, str]]:
    """The shares of sites that give them, and why the others do not."""
    reasons: dict[str, str] = {}

    def read(reply: wire.Reply) -> ExplanationShare | None:
        reasons[reply.site] = reply.reasons.get("counts", NOT_RELEASED)
        return parse(reply)

    found, attendance = evaluator.ask(wire.EXPLANATION, read, **asked)
    shares = {site: share for site, share in found.items() if share is not None}
    hidden = {site: reasons[site] for site, share in found.items() if share is None} | attendance.refused
    return shares, dict(sorted(hidden.items()))


def _reference(evaluator: Evaluator, columns: int) -> dict[str, Any]:
    """Means of the columns over the training patients of the sites that give sums."""
    found, _ = evaluator.ask(wire.REFERENCE, lambda reply: reference_share(reply, columns))
    known = [share for share in found.values() if share is not None]
    patients = sum(n for n, _ in known)
    if not patients:
        return {"kind": AT_ZERO, "patients": 0, "values": [0.0] * columns}
    means = np.sum([totals for _, totals in known], axis=0) / patients
    return {"kind": MEANS, "patients": patients, "values": means.tolist()}


def _spread(sums: ShapleySums) -> Floats:
    """SD of each player's values, (players,); 0 where it is not known."""
    return np.array([row.standard_deviation or 0.0 for row in sums.players()])


def _ranks(names: Sequence[str], share: ExplanationShare) -> dict[str, dict[str, float]]:
    mean = share.ranks.total / BOOTSTRAP_DRAWS
    spread = np.sqrt(np.maximum(share.ranks.squares / BOOTSTRAP_DRAWS - mean**2, 0.0))
    return {
        name: {"mean_rank": float(mean[place]), "sd": float(spread[place])}
        for place, name in enumerate(names)
        if share.sums.n[place] > 0
    }
