"""Mean |SHAP| by player, per site and n-weighted over sites, from sums of exact Shapley values."""

from typing import Any

from fedescc.common import wire
from fedescc.common.players import player_names
from fedescc.common.statistics.shapley import ShapleySums
from fedescc.common.sums import add_up
from fedescc.server.evaluation.evaluate import Evaluator
from fedescc.server.replies import NOT_RELEASED, shapley_share


def explain(evaluator: Evaluator) -> dict[str, Any]:
    """The explanation part of ``results.json``; sites that keep their sums are named with the reason."""
    names = player_names(evaluator.study)
    reasons: dict[str, str] = {}

    def read(reply: wire.Reply) -> ShapleySums | None:
        reasons[reply.site] = reply.reasons.get("counts", NOT_RELEASED)
        return shapley_share(reply, len(names))

    found, attendance = evaluator.ask(wire.EXPLANATION, read)
    sums = {site: share for site, share in found.items() if share is not None}
    hidden = {site: reasons[site] for site, share in found.items() if share is None} | attendance.refused
    pooled = player_entries(names, add_up(sums.values())) if sums else None
    sites = {site: player_entries(names, share) for site, share in sums.items()}
    entry = {"unit": "logit", "pooled": pooled, "sites": sites}
    return entry | ({"suppressed": dict(sorted(hidden.items()))} if hidden else {})


def player_entries(names: tuple[str, ...], sums: ShapleySums) -> dict[str, dict[str, Any]]:
    """Name -> n, mean |φ|, mean φ and SD; null where too few patients have the player."""
    return {
        name: {"n": row.n, "mean_abs": row.mean_absolute, "mean": row.mean, "sd": row.standard_deviation}
        for name, row in zip(names, sums.players(), strict=True)
    }
