"""What each site gives the model: the AUC of the model of all sites, less that of one trained without the site.

The models without a site are trained before the test set opens and look at it with the others, so that a contribution
is a paired difference on the same patients. It may be negative, as a site with other patients or worse labels can harm
the model; the interval says what of it is noise of the test patients. It does not say what another training run would
have given.
"""

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from fedescc.common import wire
from fedescc.common.errors import Refusal
from fedescc.common.fold import Loso
from fedescc.server.evaluation.calibration import CONTRIBUTORS_CHANGED
from fedescc.server.evaluation.comparison import compare_models
from fedescc.server.evaluation.evaluate import Evaluation
from fedescc.server.evaluation.evaluator import NO_QUORUM, Evaluator
from fedescc.server.evaluation.opening import UNDECLARED
from fedescc.server.exchange import Attendance
from fedescc.server.training.progress import Trained

PREFIX = "without_"
NOTE = (
    "AUC of the model of all sites less that of the model trained without the site, on the same test patients of the "
    "fixed split; above 0 the site improves the model. The interval is that of a paired DeLong test and covers the "
    "test patients' noise, not that of training. Where another site missed rounds of the model without a site, "
    "the gain is not that site's alone"
)

TrainWithout = Callable[[Loso], Evaluator]


@dataclass
class Without:
    """Models that were each trained without one site.

    Attributes:
        evaluators: ``without_NAME`` -> the model, to be evaluated under the fixed split.
        unavailable: site -> why there is no model without it, or why it was not judged.

    """

    evaluators: dict[str, Evaluator] = field(default_factory=dict)
    unavailable: dict[str, str] = field(default_factory=dict)


def contributors(trained: Trained) -> list[str]:
    """The sites that had a part in at least one round."""
    return sorted({site for record in trained.progress.records for site in record.attendance.accepted})


def require_others(sites: Collection[str], fold: Loso, trained: Trained) -> None:
    """Hold a model trained without one site to be trained by all the others.

    Raises:
        Refusal: ``contributors-changed``: what it lacks is not of the site held out alone.

    """
    if lost := sorted({*sites} - {fold.held_out} - {*contributors(trained)}):
        what = f"the model without {fold.held_out} was trained without {', '.join(lost)} too"
        raise Refusal(CONTRIBUTORS_CHANGED, what, "mend the sites named and start a new run")


def missed(statistics: Attendance, trained: Trained) -> dict[str, dict[str, str]]:
    """Which sites missed the statistics or a round, by type of message; the site held out has missed nothing."""
    rounds = {site: code for one in trained.progress.records for site, code in one.attendance.refused.items()}
    found = {wire.STATISTICS: statistics.refused, wire.TRAIN: rounds}
    return {kind: dict(sorted(refused.items())) for kind, refused in found.items() if refused}


def train_without(sites: Sequence[str], train: TrainWithout, network: Evaluator, room: int) -> Without:
    """Train a model without each site in turn; one that cannot be trained costs no other, and says why.

    Args:
        sites: those that trained the run's own model.
        train: trains under a fold with one site held out, and gives the model's evaluator under the fixed split.
        network: the run's own model.
        room: how many more looks at the test set may be declared; none is trained where not all fit.

    """
    reason = _impossible(sites, network, room)
    found = Without(unavailable=dict.fromkeys(sorted(sites), reason) if reason else {})
    for site in sorted(sites) if reason is None else ():
        try:
            found.evaluators[f"{PREFIX}{site}"] = train(Loso(held_out=site))
        except Refusal as refusal:
            found.unavailable[site] = refusal.code
    return found


def contributions(
    network: tuple[str, Evaluator],
    without: Without,
    evaluations: Mapping[str, Evaluation],
    undeclared: Collection[str] = (),
) -> dict[str, Any]:
    """The part ``contribution`` of results.json, after every model has looked at the test set.

    Two numbers a site: over all sites' test patients, and over those of the other sites, who gain from it as strangers;
    and ``refused``, who missed what in training and judging the model without it.

    Args:
        network: name and evaluator of the run's own model.
        without: the models trained without a site.
        evaluations: of all models that looked, by name.
        undeclared: models that came after the test set was opened.

    """
    judged = {name: one for name, one in without.evaluators.items() if name in evaluations}
    missed = {
        name.removeprefix(PREFIX): UNDECLARED if name in undeclared else NO_QUORUM
        for name in without.evaluators
        if name not in judged
    }
    everywhere = _gains(network, judged, evaluations)
    sites = {}
    for name, evaluator in judged.items():
        site = name.removeprefix(PREFIX)
        pair = {key: _elsewhere(evaluations[key], site) for key in (network[0], name)}
        elsewhere = _gains(network, {name: evaluator}, pair)
        sites[site] = {
            "model": name,
            "all_sites": everywhere[name],
            "other_sites": elsewhere[name],
            "refused": dict(evaluator.refused),
        }
    unavailable = dict(sorted({**without.unavailable, **missed}.items()))
    return {"unit": "AUC", "sites": sites, "unavailable": unavailable, "note": NOTE}


def _impossible(sites: Sequence[str], network: Evaluator, room: int) -> str | None:
    """Why no site's contribution can be told, if so."""
    if len(sites) < 2:
        return "fewer-than-two-sites"
    if network.task["federation"]["personalisation"]["kind"] != "none":
        return "personalised"  # a site's own parameters belong to the run's own model
    return "too-many-models" if len(sites) > room else None


def _elsewhere(evaluation: Evaluation, site: str) -> Evaluation:
    """The evaluation over the other sites' patients alone."""
    names = [name for name in evaluation.pooled_sites if name != site]
    roc = {name: histogram for name, histogram in evaluation.roc.items() if name != site}
    tested = {name: share for name, share in evaluation.tested.items() if name != site}
    return replace(evaluation, pooled_sites=names, roc=roc, tested=tested)


def _gains(
    network: tuple[str, Evaluator],
    without: Mapping[str, Evaluator],
    evaluations: Mapping[str, Evaluation],
) -> dict[str, dict[str, Any]]:
    """Paired differences, by model. The site left out of the pool refuses it, which is no fault of the run's."""
    own, evaluator = network
    asking = {own: replace(evaluator, refused={}), **without}
    looked = {name: evaluations[name] for name in asking}
    return {entry["model"]: _gain(entry) for entry in compare_models(asking, looked)}


def _gain(entry: Mapping[str, Any]) -> dict[str, Any]:
    """The model of all sites less the one compared with it, where the comparison has it the other way round."""
    if entry["difference"] is None:
        return {"gain": None, "standard_error": None, "ci95": None, "p": None, "suppressed": entry["suppressed"]}
    low, high = entry["ci95"]
    return {
        "gain": -entry["difference"],
        "standard_error": entry["standard_error"],
        "ci95": [-high, -low],
        "p": entry["p"],
    }
