"""The plan of a run before it trains: from governed counts of sites to what the study can show, as JSON."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from fedescc.common import wire
from fedescc.common.counts import SPLITS, SiteCounts
from fedescc.common.errors import Refusal
from fedescc.common.federation import Federation
from fedescc.common.study import Study
from fedescc.server.planning.binormal import Binormal
from fedescc.server.planning.budget import training_cost
from fedescc.server.planning.outlook import ASSUMED_AUCS, Classes, outlook
from fedescc.server.planning.parameters import Parameters, planned_parameters
from fedescc.server.planning.releases import expected_levels, patients_tested, role_of
from fedescc.server.planning.sample_size import expected_shrinkage, minimum_sample_size

NOT_TOLD = "counts-not-told"
_BESIDE_UPDATES = "each round, beside the update: loss; counts, losses and class histograms of the validation patients"

Document = dict[str, Any]


@dataclass(frozen=True)
class Assumptions:
    """What the plan takes for granted.

    Attributes:
        auc: of the model to come.
        mode: run mode, as `fedescc.server.modes.MODES`.
        folds: of ``kfold``.
        comparators: models beside the study's own, those of its plan among them.
        noise_multiplier: of DP-SGD; None trains without differential privacy.
        delta: of the privacy guarantee.

    """

    auc: float = 0.75
    mode: str = "split"
    folds: int = 5
    comparators: tuple[str, ...] = ()
    noise_multiplier: float | None = None
    delta: float = 1e-5


def make_plan(
    study: Study,
    sites: Mapping[str, SiteCounts],
    federation: Federation,
    assumed: Assumptions,
    releases: Mapping[str, str],
) -> Document:
    """The plan as results and ``plan --json`` hold it.

    Args:
        study: what is planned.
        sites: counts by site.
        federation: rounds and local training.
        assumed: see there.
        releases: message type -> what leaves the sites with it.

    Raises:
        Refusal: an assumption that cannot be, see `Binormal`, `minimum_sample_size` and `epsilon`.

    """
    Binormal(assumed.auc, 0.5)
    ordered = dict(sorted(sites.items()))
    roles = {
        site: role_of(counts, assumed.mode, assumed.folds, study.disclosure.min_class_count)
        for site, counts in ordered.items()
    }
    return {
        "format": "fedescc-plan-1",
        "study": study.name,
        "study_sha256": study.sha256,
        "plan_sha256": study.analysis.sha256,
        "assumed": asdict(assumed),
        "sites": {site: _site_entry(counts, roles[site], assumed.mode) for site, counts in ordered.items()},
        "precision": _precision(study, ordered, roles, assumed),
        "development": _development(study, ordered, assumed),
        "subgroups": _subgroups(study, ordered, assumed),
        "privacy": _privacy(ordered, federation, assumed, releases),
    }


def _site_entry(counts: SiteCounts, role: str, mode: str) -> Document:
    return {
        "included": asdict(counts.whole),
        "splits": {name: asdict(counts.splits[name]) for name in SPLITS},
        "tested": asdict(patients_tested(counts, mode)),
        "role": role,
        "missing": counts.missing,
    }


def _precision(
    study: Study, sites: Mapping[str, SiteCounts], roles: Mapping[str, str], assumed: Assumptions
) -> Document:
    """Expected intervals, over the sites that told both classes of the patients to be tested."""
    tested = {site: patients_tested(counts, assumed.mode).classes for site, counts in sites.items()}
    told: dict[str, Classes] = {site: classes for site, classes in tested.items() if classes is not None}
    pooled = sum(one[0] for one in told.values()), sum(one[1] for one in told.values())
    own = {site: classes for site, classes in told.items() if roles[site] == "own_results"}
    without = sorted(set(sites) - set(told))
    entry: Document = {"n": sum(pooled), "n_pos": pooled[0], "sites_left_out": without, "at": []}
    if min(pooled) < 1:
        return {**entry, "reason": NOT_TOLD}
    aucs = sorted({*ASSUMED_AUCS, assumed.auc})
    return {**entry, "at": [outlook(auc, pooled, own, study.analysis.threshold) for auc in aucs]}


def _development(study: Study, sites: Mapping[str, SiteCounts], assumed: Assumptions) -> Document:
    """Training patients there are, against those that each planned model needs."""
    cells = {site: counts.splits["train"].classes for site, counts in sites.items()}
    told = {site: classes for site, classes in cells.items() if classes is not None}
    events, others = (sum(one[place] for one in told.values()) for place in (0, 1))
    names = dict.fromkeys((*study.analysis.comparators, *assumed.comparators))
    parameters = planned_parameters(study, names)
    entry: Document = {"n_train": events + others, "events": events, "sites_left_out": sorted(set(sites) - set(told))}
    if min(events, others) < 1:
        return {**entry, "cox_snell_r2": None, "models": {}, "reason": NOT_TOLD}
    prevalence = events / (events + others)
    r2 = Binormal(assumed.auc, prevalence).cox_snell
    models = {name: _model_entry(one, events, others, r2) for name, one in parameters.items()}
    return {**entry, "prevalence": prevalence, "cox_snell_r2": r2, "models": models}


def _model_entry(parameters: Parameters, events: int, others: int, r2: float) -> Document:
    if parameters.candidates is None:
        return {"weights": parameters.weights, "reason": "beyond-the-formula"}
    return {
        "fitted": _needs(parameters.fitted or 0, events, others, r2),
        "candidates": _needs(parameters.candidates, events, others, r2),
    }


def _needs(parameters: int, events: int, others: int, r2: float) -> Document:
    """Riley's minimum for so many parameters, and what the patients at hand come to."""
    patients = events + others
    if parameters < 1:
        return {"parameters": parameters, "reason": "no-parameters"}
    needed = minimum_sample_size(parameters, r2, events / patients)
    return {
        "parameters": parameters,
        "events_per_parameter": events / parameters,
        "needed": asdict(needed),
        "enough": patients >= needed.patients,
        "expected_shrinkage": expected_shrinkage(patients, parameters, r2),
    }


def _subgroups(study: Study, sites: Mapping[str, SiteCounts], assumed: Assumptions) -> Document:
    found = expected_levels(study, sites, assumed.mode, assumed.folds)
    return {name: {level: asdict(one) for level, one in levels.items()} for name, levels in found.items()}


def _privacy(
    sites: Mapping[str, SiteCounts], federation: Federation, assumed: Assumptions, releases: Mapping[str, str]
) -> Document:
    unused = {wire.TRAIN, *(() if federation.pretraining.rounds else (wire.PRETRAIN,))}
    beside = [_BESIDE_UPDATES, *(text for kind, text in releases.items() if kind not in unused)]
    noise = assumed.noise_multiplier
    if noise is None:
        return {"differential_privacy": False, "sites": {}, "charged_beside_training": []}
    costs = {site: _cost(counts, federation, noise, assumed.delta) for site, counts in sites.items()}
    return {
        "differential_privacy": True,
        "noise_multiplier": noise,
        "delta": assumed.delta,
        "sites": costs,
        "charged_beside_training": beside,
    }


def _cost(counts: SiteCounts, federation: Federation, noise: float, delta: float) -> Document:
    patients = counts.splits["train"].patients
    if not patients:
        return {"epsilon": None, "reason": NOT_TOLD if patients is None else "no-patients"}
    return asdict(training_cost(patients, federation.rounds, federation.training, noise, delta))


def require_sites(sites: Sequence[tuple[str, SiteCounts]]) -> dict[str, SiteCounts]:
    """Counts by site, one file each.

    Raises:
        Refusal: ``repeated-site``.

    """
    names = [name for name, _ in sites]
    repeated = sorted({name for name in names if names.count(name) > 1})
    if repeated:
        raise Refusal("repeated-site", f"two files hold counts of {repeated[0]}", "give one file a site")
    return dict(sites)
