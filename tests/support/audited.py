"""What a federation publishes of test patients, and which figures of an audit failed."""

import numpy as np

from fedescc.common.statistics.metrics import evaluation_sums, metrics_record
from fedescc.common.statistics.recalibration import recalibrate
from fedescc.common.statistics.roc import (
    auc,
    delong_variance,
    histogram_auc,
    histogram_delong_variance,
    logit_interval,
    probability,
    score_histogram,
)

EDGES = np.linspace(-3, 3, 25)
THRESHOLD = EDGES[10]


def published(scored, *, binned=False):
    """METRICS as a site publishes them of its patients, or the coordinator of the pooled ones."""
    y, logit = scored.y, scored.logit
    histogram = score_histogram(y, logit, EDGES)
    area = histogram_auc(histogram) if binned else auc(y, logit)
    variance = histogram_delong_variance(histogram) if binned else delong_variance(y, logit)
    calibration = recalibrate(y, logit)
    return metrics_record(
        evaluation_sums(y, probability(logit), THRESHOLD, score=logit),
        threshold=float(probability(THRESHOLD)),
        auc=area,
        auc_ci95=logit_interval(area, variance),
        calibration_intercept=calibration.intercept,
        calibration_slope=calibration.slope,
    )


def failed(ledger):
    """Names of the figures that did not pass."""
    return [figure.name for figure in ledger.figures if not figure.passed]
