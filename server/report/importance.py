"""Small tables of mean |SHAP| by column: of the comparators, and of the run's own model where it is linear."""

from collections.abc import Mapping

from fedescc.server.report.formats import decimal, method_label, player_label, plural, whole
from fedescc.server.report.markup import Html, el
from fedescc.server.report.parts import Comparator, Explanation, Player
from fedescc.server.report.reasons import reason
from fedescc.server.report.tables import table


def ranked(players: Mapping[str, Player]) -> list[tuple[str, Player]]:
    """Inputs by mean |SHAP|, the largest first."""
    return sorted(players.items(), key=lambda item: -(item[1].mean_abs or 0.0))


def comparators_part(comparators: Mapping[str, Comparator]) -> Html | None:
    """A table for every comparator that is explained; None where none is."""
    explained = [(name, one.explanation) for name, one in sorted(comparators.items()) if one.explanation]
    if not explained:
        return None
    parts = [_comparator(method_label(name), found) for name, found in explained]
    words = "Each comparator by its own columns, on the same test patients, with exact Shapley values."
    return el("div", el("h3", "Explanation of the comparators"), el("p", words), el("div", *parts, class_="columns"))


def columns_part(found: Explanation | None) -> Html | None:
    """The columns behind the groups of a linear model; None for any other."""
    if found is None or not found.pooled:
        return None
    summary = el("summary", f"Every column of the model ({len(found.pooled)})")
    return el("details", summary, _table("The model's own columns", found))


def _comparator(label: str, found: Explanation) -> Html:
    if not found.pooled:
        why = reason(found.reason) if found.reason else "no site released Shapley sums"
        return el("p", el("b", label), f": not explained, {why}.")
    failed = sum(gate.passed is False for gate in found.gates.values())
    gates = f" ({plural(len(found.gates), 'gate')}, {failed} failed)" if found.gates else ""
    return _table(f"{label}{gates}: columns", found)


def _table(caption: str, found: Explanation) -> Html:
    rows = [
        [player_label(name), whole(row.n), decimal(row.mean_abs), decimal(row.mean)]
        for name, row in ranked(found.pooled or {})
    ]
    return table(f"{caption} by mean |SHAP| ({found.unit}).", ["Column", "Patients", "Mean |SHAP|", "Mean"], rows)
