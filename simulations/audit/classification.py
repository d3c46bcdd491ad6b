"""Counts, shares and Brier score at the locked threshold by scikit-learn, Wilson's intervals by statsmodels."""

from collections.abc import Mapping
from typing import Any

from fedescc.simulations.audit.figures import Ledger
from fedescc.simulations.audit.scores import Scored

GROUP = "classification"
INTERVALS = "Wilson intervals"


def audit_classification(
    ledger: Ledger, name: str, record: Mapping[str, Any], scored: Scored, threshold: float
) -> None:
    """Figures of one METRICS record; ``threshold`` is a logit."""
    from scipy.special import expit
    from sklearn.metrics import brier_score_loss

    ledger.check(GROUP, f"{name} / n", record["n"], len(scored.y))
    ledger.check(GROUP, f"{name} / n_pos", record["n_pos"], scored.classes[1])
    chance = expit(scored.logit)
    ledger.check(GROUP, f"{name} / brier", record["brier"], brier_score_loss(scored.y, chance, pos_label=1))
    for key, (part, whole) in _shares(scored, threshold).items():
        ledger.check(GROUP, f"{name} / {key}", record[key], part / whole if whole else None)
        _audit_interval(ledger, f"{name} / {key}", record.get("ci95", {}).get(key), part, whole)


def _shares(scored: Scored, threshold: float) -> dict[str, tuple[int, int]]:
    """Figure -> patients counted, of how many."""
    from sklearn.metrics import confusion_matrix

    (tn, fp), (fn, tp) = confusion_matrix(scored.y, scored.logit >= threshold, labels=[0, 1]).tolist()
    return {
        "accuracy": (tp + tn, tp + tn + fp + fn),
        "sensitivity": (tp, tp + fn),
        "specificity": (tn, tn + fp),
        "ppv": (tp, tp + fp),
        "npv": (tn, tn + fn),
    }


def _audit_interval(ledger: Ledger, name: str, published: list[float] | None, part: int, whole: int) -> None:
    from statsmodels.stats.proportion import proportion_confint

    if published is None:
        return
    expected = proportion_confint(part, whole, method="wilson") if whole else (None, None)
    for end, found, pooled in zip(("low", "high"), published, expected, strict=True):
        ledger.check(INTERVALS, f"{name} interval, {end}", found, pooled)
