"""Results with everything that examines a run, each part made by the functions that make it in a real one."""

from copy import deepcopy
from functools import cache
from typing import Any

import numpy as np
from results_factory import HIDDEN, PATIENTS, sample_results
from scanner_sites import ask_sites, scanner_cohort
from site_counts import told

from fedescc.common.federation import Federation
from fedescc.common.players import player_names
from fedescc.common.statistics.ranks import bootstrap_ranks
from fedescc.common.statistics.shapley import ShapleySums
from fedescc.common.study import read_study
from fedescc.common.sums import add_up
from fedescc.common.wire import COMPARISON, TRAIN
from fedescc.server.evaluation.comparison import difference_entry
from fedescc.server.evaluation.contribution import NOTE, _gain
from fedescc.server.evaluation.explanation import MEANS, player_entries, rank_entries
from fedescc.server.evaluation.explanation_gates import gate_entries, local_baseline_entry
from fedescc.server.evaluation.explanation_replies import Baselines, ExplanationShare, RankSums
from fedescc.server.federate import LEAVES
from fedescc.server.planning.plan import Assumptions, make_plan
from fedescc.server.shortcuts.shortcuts import shortcuts
from fedescc.simulations.audit.figures import Ledger

STUDY = read_study("escc-pcr")
NOISY = "shantou"
GAINS = {"beijing": (-0.021, 0.008, 0.009), "chengdu": (0.004, 0.011, 0.716), NOISY: (0.0, 0.02, 1.0)}
UNTRAINED = "wuhan"
LATE = "henan-cancer"  # missed a part of the model without the first site
DISAGREES = "federated / pooled / brier"


def examined_results(*, protected: bool = False) -> dict[str, Any]:
    """A copy to change at will; ``protected`` plans with differential privacy."""
    return deepcopy(sample_results() | _parts() | {"planning": _planning(protected=protected)})


@cache
def _parts() -> dict[str, Any]:
    comparators = sample_results()["comparators"] | {
        "clinical": sample_results()["comparators"]["centralised"] | {"explanation": _columns()},
        "fusion": {"pooled": {}, "explanation": _of_its_models()},
    }
    return {
        "comparators": comparators,
        "explanation": _explanation(),
        "shortcuts": _shortcuts(),
        "contribution": _contribution(),
        "audit": _audit(),
    }


def _explanation() -> dict[str, Any]:
    names = player_names(STUDY)
    rng = np.random.default_rng(3)
    size = np.linspace(0.4, 0.02, len(names))
    shares = {site: _share(rng, n, size) for site, n in PATIENTS.items() if site != HIDDEN}
    return {
        "unit": "logit",
        "reference": {"kind": MEANS, "patients": 321, "values": [0.5]},
        "pooled": player_entries(names, add_up(share.sums for share in shares.values())),
        "sites": {site: player_entries(names, share.sums) for site, share in shares.items()},
        "gates": gate_entries(names, shares),
        "rank_stability": rank_entries(names, shares),
        "local_baseline": local_baseline_entry(names, shares),
        "suppressed": {HIDDEN: "class-count-below-minimum"},
    }


def _share(rng: np.random.Generator, n: int, size: np.ndarray) -> ExplanationShare:
    """A site's share; its deletion curve fails the gate."""
    phi = rng.normal(0, size, (n, len(size)))
    counts = np.full(len(size), n, np.int64)
    sums = ShapleySums(counts, np.abs(phi).sum(0), phi.sum(0), (phi**2).sum(0))
    ranked = RankSums(*bootstrap_ranks(phi, np.ones_like(phi, np.bool_)))
    figures = {"additivity_error": 3.1e-7, "repeat_error": 0.0, "deletion_total": -0.2 * n}
    baselines = Baselines(np.full(len(size), 16), 16 * size, 16 * size[::-1].copy())
    return ExplanationShare(n, sums, ranked, figures, baselines, {"random_correlation": "too-few-players"})


def _columns() -> dict[str, Any]:
    rows = {"age": (90, 0.2), "cT=4": (90, 0.7), "sex=female": (90, 0.4)}
    pooled = {name: {"n": n, "mean_abs": size, "mean": -size / 2, "sd": size} for name, (n, size) in rows.items()}
    gate = {"value": 0.0, "limit": 0.0, "passed": True}
    return {"unit": "logit", "pooled": pooled, "sites": {}, "gates": {"repeat_error": gate}}


def _of_its_models() -> dict[str, Any]:
    return {"unit": "logit", "pooled": None, "sites": {}, "reason": "explained-by-its-models"}


def _shortcuts() -> dict[str, Any]:
    """One site with a brighter, noisier scanner of another vendor."""
    cohorts = {
        name: scanner_cohort(place, 60, 0.3 * (name == NOISY), vendor="ge" if name == NOISY else "siemens",
                             noise_hu=20.0 if name == NOISY else 12.0)
        for place, name in enumerate(("beijing", "chengdu", NOISY))
    }  # fmt: skip
    return dict(ask_sites(cohorts, shortcuts))


def _contribution() -> dict[str, Any]:
    sites = {
        site: {
            "model": f"without_{site}",
            "all_sites": _gain(difference_entry(*numbers)),
            "other_sites": _gain(difference_entry(2 * numbers[0], numbers[1], numbers[2])),
            "refused": {},
        }
        for site, numbers in GAINS.items()
    }
    sites["beijing"]["refused"] = {TRAIN: {LATE: "no-answer-in-time"}, COMPARISON: {LATE: "site-error"}}
    sites["chengdu"]["other_sites"] = _gain({"difference": None, "suppressed": "no-quorum"})
    return {"unit": "AUC", "sites": sites, "unavailable": {UNTRAINED: "too-few-training-patients"}, "note": NOTE}


@cache
def _planning(*, protected: bool) -> dict[str, Any]:
    names = [*PATIENTS]
    levels = {("sex", "female"): (60, 25), ("sex", "male"): (60, 15)}
    counts = {name: told(STUDY, name, [(120, 40), (30, 10), (50, 17)], levels) for name in names[:3]}
    counts[names[3]] = told(STUDY, names[3], [(60, 20), None, None], included=100)
    assumed = Assumptions(comparators=("clinical",), noise_multiplier=1.5 if protected else None)
    plan = make_plan(STUDY, counts, Federation(rounds=3), assumed, LEAVES)
    return plan | {"refused": {names[4]: "no-answer-in-time"}}


def _audit() -> dict[str, Any]:
    ledger = Ledger()
    ledger.check("discrimination", "federated / pooled / auc", 0.81, 0.81 + 2e-7)
    ledger.check("classification", DISAGREES, 0.2, 0.25)
    ledger.check("classification", "federated / beijing / ppv", 0.5, None)
    for site in ("beijing", "chengdu"):
        ledger.check("calibration", f"federated / {site} / slope", None, 1.0)
    ledger.skip("federated / bootstrap", "sites-drawn-at-random")
    return ledger.entry()
