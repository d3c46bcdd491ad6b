"""Latent causes, outcome and clinical record of a synthetic patient.

The log odds of pCR are linear in standardised latents plus one interaction. A responder's tumour shrinks, what
remains is more homogeneous and enhances less, and the wall around it is thinner. The weights keep the AUC of
the ROI's mean HU or volume alone near .65 (population value); homogeneity carries most, as no mean shows it.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date, timedelta
from typing import TypeAlias

import numpy as np

from fedescc.simulations.patients.anatomy import Rng
from fedescc.simulations.patients.scanners import TEST_SITE, Scanner, scanner

Value: TypeAlias = str | float | date | None
"""One cell of a clinical record: category, number in the study's unit, date, or None where missing."""

IMAGE_LATENTS = ("shrinkage", "texture", "enhancement", "wall")
CLINICAL_LATENTS = ("stage", "cps", "nlr", "cycles", "nodes", "albumin")
LATENTS = IMAGE_LATENTS + CLINICAL_LATENTS
COEFFICIENTS = {
    "shrinkage": 0.90, "texture": -2.10, "enhancement": -0.50, "wall": -0.40,
    "stage": -0.65, "cps": 0.75, "nlr": -0.65, "cycles": 0.45, "nodes": -0.40, "albumin": 0.35,
}  # fmt: skip
INTERACTION = 0.40  # of shrinkage with a homogeneous bed
INTERCEPT = -1.78
INELIGIBLE_EVERY = 17
_NODES_ONLY = 0.07  # share of the non-responders whose only viable tumour lies in the nodes
_INELIGIBLE = ("adenocarcinoma", "other_malignancy", "chemotherapy", "other_therapy", "missing_cn")
_TRG_COMPLETE = {"AJCC": "0", "Mandard": "1", "Becker": "1", "Chirieac": "1", "JES": "3"}
_TRG_PARTIAL = {"AJCC": "123", "Mandard": "2345", "Becker": "23", "Chirieac": "234", "JES": "012"}
_MISSING = ("smoking", "drinking", "ecog", "length", "grade", "cps", "nlr", "lmr", "sii", "albumin")


@dataclass(frozen=True)
class Outcome:
    """What happened to one patient.

    Attributes:
        latents: standardised causes, by name.
        probability: true probability of pCR given the latents.
        label: 1 = pCR.
        ineligible: why the study's rules exclude the patient; None for an eligible one.
        clinical: every covariate and recorded variable of ``escc-pcr``.
        ct_dates: of the CT before and after treatment.

    """

    latents: dict[str, float]
    probability: float
    label: int
    ineligible: str | None
    clinical: dict[str, Value]
    ct_dates: tuple[date, date]


def draw_outcome(seed: int, site: int, index: int, place: Scanner | None = None) -> Outcome:
    """Outcome and record of patient ``index`` of ``site``; no image is rendered.

    With ``place``, the same patient at a hospital with that case mix instead of the site's own.

    Raises:
        Refusal: unknown site.

    """
    place = place or scanner(site)
    rng = np.random.default_rng([seed, site, index, 0])
    latents = {name: float(v) for name, v in zip(LATENTS, rng.standard_normal(len(LATENTS)), strict=True)}
    latents["stage"] += place.stage_shift
    probability = 1 / (1 + float(np.exp(-log_odds(latents) - place.rate_shift)))
    label = int(rng.random() < probability)
    ineligible = _ineligible(site, index)
    timeline, ct_dates = _timeline(rng, latents)
    clinical = {
        **_baseline(rng, latents), **_treatment(rng, latents, site), **timeline, **_pathology(rng, label, site)
    }  # fmt: skip
    _lose_values(rng, clinical, site)
    if ineligible:
        clinical |= _EXCLUDED_BY[ineligible]
    return Outcome(latents, probability, label, ineligible, clinical, ct_dates)


def log_odds(latents: Mapping[str, float]) -> float:
    """Log odds of pCR at a site without a shift of its own."""
    linear = sum(weight * latents[name] for name, weight in COEFFICIENTS.items())
    return INTERCEPT + linear - INTERACTION * latents["shrinkage"] * latents["texture"]


_EXCLUDED_BY: dict[str, dict[str, Value]] = {
    "adenocarcinoma": {"histology": "adenocarcinoma"},
    "other_malignancy": {"other_malignancy": "yes"},
    "chemotherapy": {"neoadjuvant": "chemotherapy"},
    "other_therapy": {"other_antitumour_therapy": "yes"},
    "missing_cn": {"cN": None},
}


def _ineligible(site: int, index: int) -> str | None:
    """Every seventeenth patient of a site, and no test patient, so that even small sites have one."""
    if site >= TEST_SITE or index % INELIGIBLE_EVERY != 5:
        return None
    return _INELIGIBLE[(index // INELIGIBLE_EVERY + site) % len(_INELIGIBLE)]


def _baseline(rng: Rng, latents: Mapping[str, float]) -> dict[str, Value]:
    t, n = _clinical_stage(latents)
    nlr = float(np.exp(1.0 + 0.42 * latents["nlr"]))
    return {
        "age": float(np.clip(np.rint(rng.normal(62, 8)), 38, 84)),
        "sex": _pick(rng, {"male": 0.8, "female": 0.2}),
        "smoking": _pick(rng, {"never": 0.35, "former": 0.3, "current": 0.35}),
        "drinking": _pick(rng, {"never": 0.45, "former": 0.2, "current": 0.35}),
        "ecog": _pick(rng, {"0": 0.6, "1": 0.36, "2": 0.04}),
        "location": _pick(rng, {"cervical": 0.03, "upper": 0.15, "middle": 0.52, "lower": 0.3}),
        "length": round(float(np.clip(rng.normal(5.0, 1.6), 1.5, 12)), 1),
        "cT": f"cT{t}",
        "cN": f"cN{n}",
        "stage": _stage_group(t, n),
        "grade": _pick(rng, {"G1": 0.15, "G2": 0.5, "G3": 0.35}),
        "cps": float(np.clip(np.rint(np.exp(2.2 + 1.0 * latents["cps"])), 0, 100)),
        "nlr": round(nlr, 2),
        "lmr": round(float(np.clip(8.5 / nlr**0.7 * np.exp(rng.normal(0, 0.3)), 0.4, 15)), 2),
        "sii": round(float(np.clip(nlr * rng.normal(235, 55), 60, 6000)), 0),
        "albumin": round(float(np.clip(41 + 3.8 * latents["albumin"], 24, 55)), 1),
        "histology": "ESCC",
        "other_malignancy": "no",
    }


def _clinical_stage(latents: Mapping[str, float]) -> tuple[int, int]:
    t = 1 + int(np.searchsorted((-1.8, -0.7, 1.0), latents["stage"]))
    n = int(np.searchsorted((-0.6, 0.6, 1.6), latents["nodes"]))
    return t, n


def _stage_group(t: int, n: int) -> str:
    """Clinical stage of ESCC without distant metastases, AJCC 8th edition."""
    if t == 4 or n == 3:
        return "IVA"
    if n == 2 or (t == 3 and n == 1):
        return "III"
    return "II" if t > 1 else "I"


def _treatment(rng: Rng, latents: Mapping[str, float], site: int) -> dict[str, Value]:
    drugs = ("camrelizumab", "toripalimab", "tislelizumab", "sintilimab", "pembrolizumab")
    return {
        "regimen": _pick(rng, {"TP": 0.85, "PF": 0.1, "other": 0.05}),
        "pd1_drug": drugs[site % 5] if rng.random() < 0.6 else drugs[int(rng.integers(5))],
        "cycles": _cycles(latents),
        "neoadjuvant": "chemoimmunotherapy",
        "other_antitumour_therapy": "no",
    }


def _cycles(latents: Mapping[str, float]) -> float:
    return 1.0 + float(np.searchsorted((-1.4, 0.3, 1.2), latents["cycles"]))


def _timeline(rng: Rng, latents: Mapping[str, float]) -> tuple[dict[str, Value], tuple[date, date]]:
    surgery = date(2019, 6, 1) + timedelta(days=int(rng.integers(0, 2220)))
    interval = int(rng.integers(28, 57))
    last = surgery - timedelta(days=interval)
    first = last - timedelta(days=21 * (int(_cycles(latents)) - 1))
    before = first - timedelta(days=int(rng.integers(0, 15)))
    after = surgery - timedelta(days=int(rng.integers(2, 15)))
    record: dict[str, Value] = {
        "first_dose_date": first,
        "last_dose_date": last,
        "surgery_date": surgery,
        "interval_to_surgery": float(interval),
    }
    return record, (before, after)


def _pathology(rng: Rng, label: int, site: int) -> dict[str, Value]:
    """ypT0 with ypN0 if and only if the label is 1; TRG speaks of the primary tumour only."""
    system = tuple(_TRG_COMPLETE)[site % len(_TRG_COMPLETE)]
    depth = _pick(rng, {"is": 0.05, "1": 0.3, "2": 0.25, "3": 0.35, "4": 0.05})
    nodes = int(rng.integers(1, 4))
    t = "ypT0" if label or rng.random() < _NODES_ONLY else f"ypT{depth}"
    residual_nodes = not label and (t == "ypT0" or rng.random() < 0.4)
    n = nodes if residual_nodes else 0
    trg = _TRG_COMPLETE[system] if t == "ypT0" else str(rng.choice(list(_TRG_PARTIAL[system])))
    return {"ypT": t, "ypN": f"ypN{n}", "pcr": "yes" if label else "no", "trg": trg, "trg_system": system}


def _lose_values(rng: Rng, clinical: dict[str, Value], site: int) -> None:
    """Optional values that this site did not record: 4-8 %, CPS up to 25 %."""
    rate = 0.04 + 0.01 * (site % 5)
    chances = rng.random(len(_MISSING))
    for name, chance in zip(_MISSING, chances, strict=True):
        if chance < (3 * rate if name == "cps" else rate):
            clinical[name] = None


def _pick(rng: Rng, shares: Mapping[str, float]) -> str:
    return str(rng.choice(list(shares), p=list(shares.values())))
