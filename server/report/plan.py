"""What was fixed before the test set opened, when it was opened and by how many models, and what came on top."""

from collections.abc import Mapping, Sequence
from types import MappingProxyType

from fedescc.server.report.document import Results
from fedescc.server.report.formats import DASH, decimal, fold_label, method_label, plural, span_of, whole, words
from fedescc.server.report.markup import Child, Html, el, section
from fedescc.server.report.planned import Analysis, Opening, Plan, PlannedSubgroup, ThresholdRule
from fedescc.server.report.primary import HELD_OUT
from fedescc.server.report.selection import Fact, facts
from fedescc.server.report.tables import table

_FLAG = "\u25b2"  # beside a count that is not 0
_YOUDEN = "the highest sum of sensitivity and specificity (Youden)"
_OF_OTHER_MODELS = " of other models than the plan's"  # a fusion is what it joins
_OF_THE_PLAN = " of the plan's models"
_METRICS = {
    "pooled_auc": "AUC of all sites' test patients together",
    "mean_site_auc": "mean of the sites' own AUCs, by patients",
}
_INTRODUCTION = (
    "The plan is part of the study's file, and of its hash. Every site compared the digest with that of its own file "
    "before it answered about test patients. What is on this page and not in the plan is exploratory."
)
Openings = Sequence[tuple[str | None, Opening]]


def plan_section(results: Results) -> Html | None:
    """Plan, opening and departures; None where the results tell neither."""
    openings = _openings(results)
    if results.plan is None and not openings:
        return None
    return section(
        "plan",
        "Plan",
        el("p", _INTRODUCTION),
        facts(_plan_facts(results, results.plan)) if results.plan else None,
        *(_opening_parts(results, openings) if openings else []),
    )


def opened_before(results: Results) -> dict[str, int]:
    """Site -> how often other runs had opened its test patients, where they had; the most of several folds."""
    counts: dict[str, int] = {}
    for _, opening in _openings(results):
        for site, times in opening.sites.items():
            counts[site] = max(times or 0, counts.get(site, 0))
    return {site: times for site, times in sorted(counts.items()) if times}


def _openings(results: Results) -> Openings:
    own: Openings = [(None, results.opening)] if results.opening else []
    return [*own, *((fold.fold, fold.opening) for fold in results.folds if fold.opening)]


def _plan_facts(results: Results, plan: Plan) -> list[Fact]:
    analysis = plan.analysis
    paired = f"{method_label(analysis.compared_with)} with the federated model" if analysis.compared_with else "none"
    found: list[Fact] = [
        ("SHA-256 of the plan", el("code", plan.sha256)),
        ("Primary metric", _primary(results, analysis)),
        ("Threshold rule", f"{_rule(analysis.threshold)}; on the validation patients, locked before the opening"),
        ("Comparators", _methods(analysis.comparators)),
        ("Paired test", paired),
        ("Subgroups", _subgroups(analysis.subgroups)),
        ("Partial AUC", _partial(analysis)),
        ("Net benefit at", ", ".join(f"{at:g}" for at in analysis.decision_thresholds) or "not planned"),
    ]
    if defaults := _defaults(results):
        found.append(("Rule not applied", defaults))
    both = {*plan.comparators.exploratory} & {*plan.comparators.not_run}
    another, planned = dict.fromkeys(both, _OF_OTHER_MODELS), dict.fromkeys(both, _OF_THE_PLAN)
    if plan.comparators.exploratory:
        found.append(("Exploratory, not in the plan", _methods(plan.comparators.exploratory, another)))
    if plan.comparators.not_run:
        found.append(("Planned and not run", _methods(plan.comparators.not_run, planned)))
    return found


def _primary(results: Results, analysis: Analysis) -> str:
    metric = analysis.primary_metric or ""
    planned = _METRICS.get(metric, metric or DASH)
    used = results.final.primary.metric if results.final.primary else None
    if used != HELD_OUT:
        return planned
    return f"{planned}; shown first, where every site is held out once, is the random-effects mean of the sites' AUCs"


def _rule(rule: str | ThresholdRule | None) -> str:
    if rule is None or isinstance(rule, str):
        return _YOUDEN if rule == "youden" else rule or DASH
    if rule.rule == "cost" and rule.false_negative is not None and rule.false_positive is not None:
        return f"least cost, a missed patient at {rule.false_negative:g} and a false alarm at {rule.false_positive:g}"
    if rule.at is None:
        return rule.rule
    best = {"sensitivity": "the highest that reaches", "specificity": "the most sensitive that reaches"}
    return f"{best.get(rule.rule, '')} a {rule.rule} of {rule.at:g}".strip()


def _defaults(results: Results) -> str | None:
    """Where no validation histogram was released, so that the planned rule had nothing to choose from."""
    finals = [fold.final for fold in results.folds if fold.final is not None] or [results.final]
    default = sum(final.threshold_source == "default" for final in finals)
    if not default:
        return None
    where = f" in {default} of {plural(len(finals), 'fold')}" if results.folds else ""
    return f"the default threshold stands{where}: no site released the validation histograms that the rule needs"


def _methods(names: Sequence[str], said: Mapping[str, str] = MappingProxyType({})) -> str:
    """Labels, some with words on what they are."""
    return ", ".join(method_label(name) + said.get(name, "") for name in names) or "none"


def _subgroups(subgroups: Mapping[str, PlannedSubgroup]) -> str:
    shown = [words(name) + _cuts(subgroup) for name, subgroup in subgroups.items()]
    return ", ".join(shown) or "none"


def _cuts(subgroup: PlannedSubgroup) -> str:
    return f" (cut at {', '.join(f'{cut:g}' for cut in subgroup.cuts)})" if subgroup.cuts else ""


def _partial(analysis: Analysis) -> str:
    return "not planned" if analysis.partial_auc is None else f"up to a false positive rate of {analysis.partial_auc:g}"


def _opening_parts(results: Results, openings: Openings) -> list[Html | None]:
    return [
        el("h3", "Opening of the test set"),
        _other_plan(results, openings),
        _not_first(results),
        _table(openings),
        _before(openings),
        _thresholds(openings),
        _looks(openings),
    ]


def _table(openings: Openings) -> Html:
    several = any(name is not None for name, _ in openings)
    body = [
        [
            *([fold_label(name)] if name is not None else []),
            opening.opened_at,
            opening.plan_sha256[:12],
            whole(len(opening.looks)),
            whole(len(opening.sites)),
        ]
        for name, opening in openings
    ]
    head = [*(["Of fold"] if several else []), "Opened at", "Under plan", "Looks", "Sites that answered"]
    caption = "Each look is one model with its threshold, declared before the first question about test patients."
    return table(caption, head, body, left=3 if several else 2)


def _before(openings: Openings) -> Html | None:
    """How often other runs had opened each site's test patients; of several folds the fewest and the most."""
    sites = sorted({site for _, opening in openings for site in opening.sites})
    if not sites:
        return None
    body = [[site, _times([one.sites[site] for _, one in openings if site in one.sites])] for site in sites]
    return table("How often other runs had opened these test patients before.", ["Site", "Opened before"], body)


def _times(found: list[int | None]) -> str:
    told = [times for times in found if times is not None]
    if len(told) < len(found):
        return "not told"
    return span_of(told) + (f" {_FLAG}" if any(told) else "")


def _thresholds(openings: Openings) -> Html | None:
    names = list(dict.fromkeys(name for _, opening in openings for name in opening.thresholds))
    if not names:
        return None
    body = [
        [method_label(name), _range([one.thresholds[name] for _, one in openings if name in one.thresholds])]
        for name in names
    ]
    several = ", lowest to highest over folds" if len(openings) > 1 else ""
    return table(f"Locked thresholds, as probabilities{several}.", ["Model", "Threshold"], body)


def _range(values: list[float]) -> str:
    low, high = decimal(min(values)), decimal(max(values))
    return low if low == high else f"{low}{DASH}{high}"


def _looks(openings: Openings) -> Html | None:
    """Digests of all looks, which a site's own record of openings must hold too."""
    items: list[Child] = [
        el("li", f"{fold_label(name)}: " if name else None, el("code", look))
        for name, opening in openings
        for look in opening.looks
    ]
    return el("details", el("summary", "Digests of the looks declared"), el("ul", *items)) if items else None


def _other_plan(results: Results, openings: Openings) -> Html | None:
    if results.plan is None or all(opening.plan_sha256 == results.plan.sha256 for _, opening in openings):
        return None
    said = " The digest at the opening is not that of the plan above. Do not use these figures."
    return _warning(el("p", el("strong", "Opened under another plan."), said))


def _not_first(results: Results) -> Html | None:
    before = opened_before(results)
    if not before:
        return None
    listed = ", ".join(f"{site} ({plural(times, 'time')})" for site, times in before.items())
    said = f" Other runs had opened test patients before at {listed}. Whoever knew those results could have been guided"
    return _warning(
        el("p", el("strong", "Not the first opening."), f"{said} by them, so these figures may be too good.")
    )


def _warning(said: Html) -> Html:
    return el("aside", said, class_="notice", role="note")
