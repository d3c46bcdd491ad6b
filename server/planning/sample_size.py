"""Whether the training patients are enough to develop a model: Riley's minimum sample size for a binary outcome.

Source: Riley et al., Stat. Med. 38 (2019) 1276 and BMJ 368 (2020) m441: expected shrinkage of at least .9, apparent
and adjusted Nagelkerke R2 at most .05 apart, and the overall risk known to within .05.
"""

import math
from dataclasses import dataclass

from fedescc.common.errors import Refusal
from fedescc.server.planning.binormal import null_log_likelihood

SHRINKAGE = 0.9
OPTIMISM = 0.05
RISK_MARGIN = 0.05
_Z = 1.96  # as the paper and pmsampsize round it


@dataclass(frozen=True)
class SampleSize:
    """Patients needed, by criterion, and events per parameter that they come to."""

    shrinkage: int
    optimism: int
    risk: int
    patients: int
    events_per_parameter: float


def minimum_sample_size(parameters: int, cox_snell: float, prevalence: float) -> SampleSize:
    """The smallest number of patients that meets all three criteria.

    Args:
        parameters: that may be chosen from, the intercept not among them; at least 1.
        cox_snell: anticipated Cox and Snell R2 of the model.
        prevalence: of the outcome.

    Raises:
        Refusal: ``bad-assumption``: no parameter, a prevalence that is no share, or an R2 beyond what it allows.

    """
    if parameters < 1 or not 0 < prevalence < 1:
        raise _bad(f"{parameters} parameters, prevalence {prevalence}")
    most = 1 - math.exp(2 * null_log_likelihood(prevalence))
    if not 0 < cox_snell < min(most, SHRINKAGE):
        raise _bad(f"R2 {cox_snell:.3g}, where the prevalence allows {most:.3g}")
    by_shrinkage = math.ceil(parameters / expected_loss(SHRINKAGE, cox_snell))
    by_optimism = math.ceil(parameters / expected_loss(cox_snell / (cox_snell + OPTIMISM * most), cox_snell))
    by_risk = math.ceil((_Z / RISK_MARGIN) ** 2 * prevalence * (1 - prevalence))
    patients = max(by_shrinkage, by_optimism, by_risk)
    return SampleSize(by_shrinkage, by_optimism, by_risk, patients, patients * prevalence / parameters)


def expected_loss(shrinkage: float, cox_snell: float) -> float:
    """Parameters a patient can pay for at a shrinkage: (shrinkage - 1) * ln(1 - R2 / shrinkage)."""
    return (shrinkage - 1) * math.log(1 - cox_snell / shrinkage)


def expected_shrinkage(patients: int, parameters: int, cox_snell: float) -> float:
    """The shrinkage that a model fitted to so many patients needs, if it is to have this R2 in new ones.

    `expected_loss` falls from infinity, at a shrinkage of the R2 itself, to 0, at 1.
    """
    from scipy.optimize import brentq

    needed = parameters / patients
    low = math.nextafter(cox_snell, 1.0)
    if expected_loss(low, cox_snell) < needed:
        return low
    return float(brentq(lambda shrinkage: expected_loss(shrinkage, cox_snell) - needed, low, 1.0))


def _bad(what: str) -> Refusal:
    return Refusal("bad-assumption", what, "assume another AUC")
