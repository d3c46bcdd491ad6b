"""Whether the trained model's embeddings tell the site or the scanner's vendor, found by governed sums alone."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from fedescc.common import wire
from fedescc.common.errors import Refusal
from fedescc.common.fold import NOT_IN_K_FOLDS, KFold, read_fold
from fedescc.common.shortcut import MAX_PRODUCTS, LinearRule, Projection
from fedescc.common.wire import Reply
from fedescc.server.evaluation.evaluator import Evaluator
from fedescc.server.exchange import Attendance
from fedescc.server.replies import malformed
from fedescc.server.shortcuts.accuracy import balanced_accuracy
from fedescc.server.shortcuts.discriminant import fit_discriminant, project, standardising, towards_means
from fedescc.server.shortcuts.replies import (
    Assigned,
    AssignedShare,
    Group,
    MomentsShare,
    ProductsShare,
    assigned_share,
    moments_share,
    products_share,
)

NOTE = (
    "fitted on the training patients of both outcomes together and judged on validation patients; no label is read. "
    "Sites whose outcome rates differ may be told apart by that alone. Whatever tells the site may as well be its case "
    "mix as its scanner"
)
SITE, VENDOR = "site", "vendor"
_OWN_ENCODER = frozenset({"ditto", "local_norm"})

Classes = dict[str, list[Group]]


@dataclass(frozen=True)
class _Fitted:
    """What the sites are asked about: a projection, and a rule or why there is none, by kind of class."""

    projection: Projection
    whole: bool
    rules: dict[str, LinearRule]
    reasons: dict[str, str]


def predictable(evaluator: Evaluator) -> dict[str, Any]:
    """Entries ``site`` and ``vendor``: balanced accuracy of a linear discriminant, or null with the reason.

    Three exchanges about one model: moments, products, then how many validation patients are assigned rightly. A site
    that keeps back one of them stays out, and is named under ``refused`` where it refused.

    Args:
        evaluator: of the run's own network, before or after the test set opens; no test patient is looked at.

    """
    if (reason := _impossible(evaluator)) is not None:
        return {SITE: _null(reason), VENDOR: _null(reason)}
    refused: dict[str, str] = {}
    moments = _moments(evaluator, refused)
    if len(moments) < 2:
        return {SITE: _null("fewer-than-two-sites"), VENDOR: _null("fewer-than-two-sites"), "refused": refused}
    fitted = _fit(evaluator, moments, refused)
    found = _judge(evaluator, fitted, refused)
    columns = {"embedding": len(fitted.projection.centre), "columns": fitted.projection.columns}
    basis = "all-dimensions" if fitted.whole else "directions-of-class-means"
    return {**found, **columns, "basis": basis, "note": NOTE, "refused": dict(sorted(refused.items()))}


def _impossible(evaluator: Evaluator) -> str | None:
    """Why the question has no meaning for a model, if so."""
    if evaluator.study.imaging is None:
        return "no-images"
    if isinstance(read_fold(evaluator.task), KFold):
        return NOT_IN_K_FOLDS
    kind = evaluator.task["federation"]["personalisation"]["kind"]
    return "encoder-differs-by-site" if kind in _OWN_ENCODER else None


def _moments(evaluator: Evaluator, refused: dict[str, str]) -> dict[str, MomentsShare]:
    sizes: list[int] = []

    def read(reply: Reply) -> MomentsShare:
        share = moments_share(reply)
        if sizes and len(share.squares) != sizes[0]:
            raise malformed("embeddings of another size than other sites'")
        sizes.append(len(share.squares))
        return share

    found, attendance = evaluator.ask(wire.SHORTCUT, read)
    _note(refused, attendance)
    return found


def _fit(evaluator: Evaluator, moments: dict[str, MomentsShare], refused: dict[str, str]) -> _Fitted:
    projection, whole = _projection(moments)
    shares, attendance = evaluator.ask(
        wire.SHORTCUT, lambda reply: _told_before(reply, moments, projection), projection=projection.task()
    )
    _note(refused, attendance)
    sites: Classes = {name: [project(moments[name].whole, projection, share.whole)] for name, share in shares.items()}
    rules, reasons = dict[str, LinearRule](), dict[str, str]()
    for kind, classes in ((SITE, sites), (VENDOR, _by_vendor(moments, shares, projection))):
        if len(classes) < 2:
            reasons[kind] = f"fewer-than-two-{kind}s"
        else:
            rules[kind] = fit_discriminant(classes)
    return _Fitted(projection, whole, rules, reasons)


def _told_before(reply: Reply, moments: Mapping[str, MomentsShare], projection: Projection) -> ProductsShare:
    if reply.site not in moments:
        raise Refusal("contributors-changed", "products of a site that told no sums", "nothing: it stays out")
    return products_share(reply, moments[reply.site], projection.columns)


def _projection(moments: Mapping[str, MomentsShare]) -> tuple[Projection, bool]:
    """All dimensions where every site has more patients than these, else as few directions as the smallest allows."""
    standard, fewest = standardising(moments.values()), min(share.whole.n for share in moments.values())
    if standard.columns < fewest and standard.columns <= MAX_PRODUCTS:
        return standard, True
    sites = {name: share.whole for name, share in moments.items()}
    vendors: dict[str, Group] = {}
    for share in moments.values():
        for name, one in share.vendors.items():
            before = vendors.get(name)
            vendors[name] = one if before is None else Group(before.n + one.n, before.total + one.total)
    found = towards_means(standard, [kind for kind in (sites, vendors) if len(kind) > 1])
    assert found.axes is not None
    most = max(1, min(fewest - 1, MAX_PRODUCTS))
    return Projection(found.centre, found.scale, found.axes[:most]), False


def _by_vendor(
    moments: Mapping[str, MomentsShare], shares: Mapping[str, ProductsShare], projection: Projection
) -> Classes:
    """Groups by vendor, of the sites that tell their vendors' products."""
    classes: Classes = {}
    for name, share in shares.items():
        for vendor, products in share.vendors.items():
            classes.setdefault(vendor, []).append(project(moments[name].vendors[vendor], projection, products))
    return dict(sorted(classes.items()))


def _judge(evaluator: Evaluator, fitted: _Fitted, refused: dict[str, str]) -> dict[str, Any]:
    found: dict[str, Any] = {kind: _null(reason) for kind, reason in fitted.reasons.items()}
    if not fitted.rules:
        return found
    rules = {kind: rule.task() for kind, rule in fitted.rules.items()}
    shares, attendance = evaluator.ask(wire.SHORTCUT, assigned_share, projection=fitted.projection.task(), rules=rules)
    _note(refused, attendance)
    judged = {SITE: _of_sites(shares), VENDOR: _of_vendors(shares)}
    for kind, rule in fitted.rules.items():
        classes = {name: groups for name, groups in judged[kind].items() if name in rule.names}
        missing = sorted(set(rule.names) - set(classes))
        # A rule that says one class of everybody is right of all its patients: chance is over the classes judged.
        entry = balanced_accuracy(classes, 1 / len(classes)) if classes else _null("no-validation-patients-told")
        found[kind] = entry | ({"not_judged": missing} if missing else {})
    return found


def _of_sites(shares: Mapping[str, AssignedShare]) -> dict[str, list[Assigned]]:
    return {name: [share.own] for name, share in shares.items() if share.own is not None}


def _of_vendors(shares: Mapping[str, AssignedShare]) -> dict[str, list[Assigned]]:
    found: dict[str, list[Assigned]] = {}
    for share in shares.values():
        for vendor, one in share.vendors.items():
            found.setdefault(vendor, []).append(one)
    return found


def _note(refused: dict[str, str], attendance: Attendance) -> None:
    """Take down who refused; what a site refused first says why it is missing afterwards."""
    refused |= {site: code for site, code in attendance.refused.items() if site not in refused}


def _null(reason: str) -> dict[str, Any]:
    return {"accuracy": None, "suppressed": reason}
