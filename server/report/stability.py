"""How stable the ranks of the inputs are: within a site over bootstrap samples, and between sites by Kendall's W."""

from collections.abc import Sequence

from fedescc.server.report.formats import DASH, decimal, plural
from fedescc.server.report.markup import Html, el
from fedescc.server.report.parts import Rank, RankStability
from fedescc.server.report.reasons import NOT_RELEASED, reason
from fedescc.server.report.tables import table


def stability_part(found: RankStability | None, order: Sequence[tuple[str, str]]) -> Html | None:
    """Kendall's W in words, and the rank of every input at every site; None without ranks.

    Args:
        found: ranks by site.
        order: name and label of every input, the most important first.

    """
    if found is None or not found.sites:
        return None
    sites = sorted(found.sites)
    rows = [[label, *(_rank(found.sites[site].get(name)) for site in sites)] for name, label in order]
    caption = (
        "Rank by mean |SHAP| at each site, 1 the most important: mean \u00b1 SD over bootstrap samples of its "
        "patients. A dash: the site has too few patients with the input."
    )
    return el("div", el("h3", "Ranks"), el("p", _agreement(found)), table(caption, ["Input", *sites], rows))


def _agreement(found: RankStability) -> str:
    if found.kendall_w is None:
        return f"No agreement between sites can be told: {reason(found.reason or NOT_RELEASED)}."
    compared = "" if found.players_compared is None else f" over {plural(found.players_compared, 'input')}"
    scale = "0 is no agreement and 1 the same ranking at every site"
    return f"Kendall's W of {plural(len(found.sites), 'site')}{compared} is {decimal(found.kendall_w, 2)}; {scale}."


def _rank(rank: Rank | None) -> str:
    return DASH if rank is None else f"{decimal(rank.mean_rank, 1)} \u00b1 {decimal(rank.sd, 1)}"
