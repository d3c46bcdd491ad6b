"""The audit of a simulation: every published figure again on the pooled patients, and whatever did not agree."""

from collections import Counter

from fedescc.server.report.checks import Audit, AuditFigure, AuditGroup
from fedescc.server.report.document import Results
from fedescc.server.report.formats import magnitude, plural, whole
from fedescc.server.report.markup import Child, Html, el, section
from fedescc.server.report.reasons import reason
from fedescc.server.report.tables import table

_MOST_FAILED = 20
_ABOUT = (
    "A simulation has all patients in one place, so every figure that the federation published was computed once more "
    "on the pooled patients, by other libraries where there are any."
)


def audit_section(results: Results) -> Html | None:
    """Verdict, the worst difference of each group, what failed, and what was left out; None without an audit."""
    found = results.audit
    if found is None:
        return None
    return section("audit", "Audit", el("p", _ABOUT), _verdict(found), _groups(found), _failed(found), _left_out(found))


def _verdict(found: Audit) -> Html:
    checked, failed = plural(len(found.figures), "figure"), sum(not one.passed for one in found.figures)
    if found.passed:
        return el("p", el("strong", "Passed."), f" {checked} recomputed; all agree within their tolerance.")
    said = f"{whole(failed)} of {checked} disagree." if found.figures else "Nothing could be recomputed."
    return el("aside", el("p", el("strong", "Failed."), f" {said}"), class_="notice", role="note")


def _groups(found: Audit) -> Html | None:
    if not found.groups:
        return None
    rows = [[name, *_group(one)] for name, one in found.groups.items()]
    caption = "Of each group the figure that is furthest off as a share of its tolerance."
    head = ["Group", "Furthest off", "Figures", "Difference", "Tolerance", "Verdict"]
    return table(caption, head, rows, left=2)


def _group(one: AuditGroup) -> list[Child]:
    verdict: Child = el("strong", f"{whole(one.failed)} failed") if one.failed else "passed"
    return [one.worst, whole(one.figures), magnitude(one.difference), magnitude(one.tolerance), verdict]


def _failed(found: Audit) -> Html | None:
    failed = [one for one in found.figures if not one.passed]
    if not failed:
        return None
    rows = [[one.figure, one.group, *_figure(one)] for one in failed[:_MOST_FAILED]]
    more = f" The first {_MOST_FAILED}; all are in results.json." if len(failed) > _MOST_FAILED else ""
    head = ["Figure", "Group", "Published", "Of the pooled patients", "Difference", "Tolerance"]
    return table(f"Figures that disagree.{more}", head, rows, left=2)


def _figure(one: AuditFigure) -> list[Child]:
    pooled = "undefined" if one.pooled is None else _precise(one.pooled)
    return [_precise(one.federated), pooled, magnitude(one.difference), magnitude(one.tolerance)]


def _precise(value: float) -> str:
    """So many digits that figures differ by sight where they differ by more than their tolerance."""
    return f"{value:.9g}".replace("-", "\u2212")


def _left_out(found: Audit) -> Html | None:
    """How many figures could not be recomputed, by reason."""
    if not found.not_audited:
        return None
    reasons = Counter(found.not_audited.values()).most_common()
    items = [el("li", f"{whole(count)}: {reason(code)}") for code, count in reasons]
    summary = el("summary", f"Not audited ({whole(len(found.not_audited))})")
    return el("details", summary, el("ul", *items))
