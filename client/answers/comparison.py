"""Sums for the paired test of models on the test patients, after every model has looked at them."""

from typing import Any

import numpy as np

from fedescc.client.answers.evaluation import may_tell, require_opened
from fedescc.client.learning.evaluate import NOT_RELEASED, Labels
from fedescc.client.local_site import LocalSite
from fedescc.client.openings import already_opened
from fedescc.client.site import BELOW_MINIMUM
from fedescc.common.errors import Refusal
from fedescc.common.identity import look_digest, split_looks
from fedescc.common.statistics.paired import placement_sums
from fedescc.common.statistics.roc import ClassHistogram, Floats, paired_delong
from fedescc.common.wire import Reply, Request


def comparison(site: LocalSite, request: Request) -> Reply:
    """Counts by class, and sums and products of the models' placements among all sites' test patients.

    The task's ``looks`` are the models as they have looked; ``pooled`` has of each its class histogram over all sites'
    test patients. Placements follow from histograms, so that a site that keeps its own keeps these sums too. Beside
    them stand this site's own paired tests of every look against the first, on exact scores; an error of 0 means that
    the difference does not vary, and that there is no test.

    Raises:
        Refusal: ``test-not-opened``, ``test-already-opened`` (a model, threshold or bins that have not looked),
            ``malformed-message``, or as `fedescc.common.statistics.paired.placement_sums`.

    """
    looks = split_looks(request)
    for look in looks:
        require_same_look(site, look)
    cohort = site.view(request)
    if site.policy.score_histogram == "never":
        return site.reply({}, {"n": NOT_RELEASED})
    if not may_tell(site, cohort, "test"):
        return site.reply({}, {"n": BELOW_MINIMUM})
    labels = cohort.labels[cohort.rows("test")]
    scores = np.stack([site.logits(look, "test") for look in looks], axis=1)
    pooled = _histograms(request.task.get("pooled"), len(looks))
    sums = placement_sums(labels, scores, pooled, [look.task["edges"] for look in looks])
    return site.reply(
        {
            "n": len(labels),
            "n_pos": int(labels.sum()),
            "sums": sums.sums.ravel().tolist(),
            "products": sums.products.ravel().tolist(),
            **_own_tests(labels, scores),
        }
    )


def require_same_look(site: LocalSite, request: Request) -> None:
    """Refuse a question about test patients whose model, threshold or bins are not those that have looked at them.

    Raises:
        Refusal: ``test-not-opened``, ``test-already-opened``.

    """
    if require_opened(site, request) != look_digest(request):
        raise already_opened()


def _own_tests(labels: Labels, scores: Floats) -> dict[str, list[float]]:
    """Differences of AUC to the first model, (models - 1,), and their standard errors by DeLong's paired test."""
    tests = [paired_delong(labels, score, scores[:, 0]).value for score in scores.T[1:]]
    return {
        "differences": [0.0 if test is None else test.difference for test in tests],
        "standard_errors": [0.0 if test is None else test.standard_error for test in tests],
    }


def _histograms(pooled: Any, models: int) -> list[ClassHistogram]:
    if not isinstance(pooled, list) or len(pooled) != models:
        raise Refusal("malformed-message", "every look needs its pooled histogram", "check the server's version")
    return [ClassHistogram(np.asarray(one["negatives"]), np.asarray(one["positives"])) for one in pooled]
