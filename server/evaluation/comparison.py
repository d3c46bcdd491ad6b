"""The paired test of every comparator against the network, over all sites' test patients (DeLong et al. 1988)."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from fedescc.common import wire
from fedescc.common.errors import Refusal
from fedescc.common.identity import join_looks
from fedescc.common.statistics.paired import AucCovariance, PlacementSums, agrees, auc_covariance, compare
from fedescc.common.statistics.roc import Z95, ClassHistogram, Estimate, PairedComparison
from fedescc.common.sums import add_up
from fedescc.common.wire import Reply
from fedescc.server.evaluation.calibration import CONTRIBUTORS_CHANGED
from fedescc.server.evaluation.evaluate import Evaluation
from fedescc.server.evaluation.evaluator import Evaluator
from fedescc.server.evaluation.replies import own_differences, placement_share

OTHER_SITES = "tested-at-other-sites"


def compare_models(
    evaluators: Mapping[str, Evaluator],
    evaluations: Mapping[str, Evaluation],
    planned: Collection[str] = (),
    primary: str | None = None,
) -> list[dict[str, Any]]:
    """AUC of every comparator less that of the first model, the run's own, on the same patients.

    Every site computes its patients' placements among all sites' patients from the pooled histograms, and answers with
    sums. A comparator that other sites were tested with has no paired test; nobody has one where a site that was tested
    does not answer, because the placements count its patients.

    Args:
        evaluators: every model that looked, the run's own first.
        evaluations: of these.
        planned: comparators that the analysis plan names; others are exploratory.
        primary: that of the plan's paired test.

    Returns:
        one entry a comparator that looked: ``model``, ``versus``, ``difference``, ``standard_error``, ``ci95``, ``p``,
        ``planned``, ``primary`` and ``sites`` with every site's own test; null with its reason under ``suppressed``.

    """
    own = next(iter(evaluators))
    others = [name for name in evaluations if name != own]
    totals = _comparable(evaluations, own)
    paired = [name for name in others if name in totals]
    missing = evaluations[own].total.reason or OTHER_SITES
    compared = _Compared(Estimate(None, missing))
    if own in totals and paired:
        compared = _ask({name: evaluators[name] for name in (own, *paired)}, evaluations, totals)
    found = []
    for name in others:
        test = compared.entry(1 + paired.index(name)) if name in paired else _test_entry(Estimate(None, missing))
        labels = {"planned": name in planned, "primary": name in planned and name == primary}
        found.append({"model": name, "versus": own, "sites": {}} | test | labels)
    return found


@dataclass(frozen=True)
class _Compared:
    """What the sites' answers come to.

    Attributes:
        covariance: of all models' AUCs over all sites' patients, or why there is none.
        sites: every site's own tests of each model but the first against the first.

    """

    covariance: Estimate[AucCovariance]
    sites: Mapping[str, Sequence[Estimate[PairedComparison]]] = field(default_factory=dict)

    def entry(self, place: int) -> dict[str, Any]:
        """The test of the model at a place against the first."""
        reason, covariance = self.covariance.reason, self.covariance.value
        pooled = Estimate[PairedComparison](None, reason) if covariance is None else compare(covariance, place, 0)
        return _test_entry(pooled) | {"sites": {site: _test_entry(own[place - 1]) for site, own in self.sites.items()}}


def _comparable(evaluations: Mapping[str, Evaluation], own: str) -> dict[str, ClassHistogram]:
    """Pooled histograms of the models that were tested at the same sites as the run's own."""
    sites = evaluations[own].pooled_sites
    totals = {name: one.total.value for name, one in evaluations.items() if one.pooled_sites == sites}
    return {name: total for name, total in totals.items() if total is not None}


def _ask(
    evaluators: Mapping[str, Evaluator], evaluations: Mapping[str, Evaluation], totals: Mapping[str, ClassHistogram]
) -> _Compared:
    own, network = next(iter(evaluators.items()))
    tested = {site: [evaluations[name].roc[site] for name in evaluators] for site in evaluations[own].pooled_sites}
    pooled = [totals[name] for name in evaluators]
    sites: dict[str, list[Estimate[PairedComparison]]] = {}

    def read(reply: Reply) -> PlacementSums | None:
        share = evaluations[own].tested.get(reply.site)
        if share is None:
            return None
        sums = placement_share(reply, len(pooled), share)
        if sums is not None and not agrees(sums, tested[reply.site], pooled):
            raise Refusal("patients-changed", "placements of other patients than were tested", "check the site")
        if sums is not None:
            areas = [evaluations[name].tested[reply.site].estimate("auc") for name in evaluators]
            sites[reply.site] = own_differences(reply, areas)
        return sums

    requests = [
        one.request(edges=evaluations[name].edges, threshold=evaluations[name].threshold)
        for name, one in evaluators.items()
    ]
    histograms = [{"negatives": one.negatives.tolist(), "positives": one.positives.tolist()} for one in pooled]
    replies, _ = network.send(wire.COMPARISON, join_looks(requests, pooled=histograms), read)
    sums = {site: share for site, share in replies.items() if share is not None}
    complete = list(sums) == list(tested)
    total = auc_covariance(add_up(sums.values())) if complete else Estimate[AucCovariance](None, CONTRIBUTORS_CHANGED)
    return _Compared(total, dict(sorted(sites.items())))


def _test_entry(found: Estimate[PairedComparison]) -> dict[str, Any]:
    if found.value is None:
        nothing = dict.fromkeys(("difference", "standard_error", "ci95", "p"))
        return nothing | {"suppressed": found.reason}
    return difference_entry(found.value.difference, found.value.standard_error, found.value.p)


def difference_entry(difference: float, error: float, p: float) -> dict[str, Any]:
    """A difference of AUCs with its 95 % interval."""
    interval = [difference - Z95 * error, difference + Z95 * error]
    return {"difference": difference, "standard_error": error, "ci95": interval, "p": p}
