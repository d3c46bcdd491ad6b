"""Scores, validation, the one look at the test set, and explanation."""

import json

import numpy as np
from numpy.typing import NDArray

from fedescc.client.cohort import SplitName
from fedescc.client.learning.evaluate import (
    NOT_RELEASED,
    may_release,
    recalibration_sums,
    site_estimates,
    split_sums,
)
from fedescc.client.local_site import LocalSite, Opened, model_digest
from fedescc.client.site import BELOW_MINIMUM
from fedescc.common import wire
from fedescc.common.errors import Refusal
from fedescc.common.recalibration import MAX_EVALUATIONS
from fedescc.common.wire import Reply, Request


def training_scores(site: LocalSite, request: Request) -> Reply:
    """Fine histogram of training logits, both classes together, from which pooled thresholds are chosen."""
    if site.policy.score_histogram == "never":
        return site.reply({}, {"counts": NOT_RELEASED})
    if len(site.view(request).rows("train")) < site.policy.min_class_count:
        return site.reply({}, {"counts": BELOW_MINIMUM})
    counts = np.histogram(site.logits(request, "train"), bins=[-np.inf, *request.task["edges"], np.inf])[0]
    return site.reply({"counts": counts.tolist()})


def validation(site: LocalSite, request: Request) -> Reply:
    """Sums over the validation patients."""
    return site.reply(*split_reply(site, request, "validation"))


def test(site: LocalSite, request: Request) -> Reply:
    """Sums at the locked threshold, and this site's own AUC and calibration.

    The test set of a fold opens once: the first request fixes every model that may look at it (``declared``, by
    digest), each with one threshold and one set of bins; the same request gets the same reply again.
    """
    digest = model_digest(request)
    question = json.dumps([request.task["edges"], request.task["threshold"], request.task.get("declared")])
    if digest in site.opened:
        return _require_opened(site, request, question).reply
    _require_declared(site, request, digest)
    values, reasons = split_reply(site, request, "test")
    cohort = site.view(request)
    labels = cohort.labels[cohort.rows("test")]
    own, own_reasons = site_estimates(labels, site.logits(request, "test"), site.policy)
    reply = site.reply(values | own, reasons | own_reasons)
    site.opened[digest] = Opened(digest, question, reply, _fold(request), tuple(request.task.get("declared") or ()))
    return reply


def recalibration(site: LocalSite, request: Request) -> Reply:
    """Newton terms of two recalibration models on the test patients."""
    opened = _require_opened(site, request)
    opened.recalibrations += 1
    if opened.recalibrations > MAX_EVALUATIONS:
        raise Refusal("too-many-questions", "more recalibration steps than a fit can need", "start a new run")
    cohort = site.view(request)
    labels = cohort.labels[cohort.rows("test")]
    large, slope = request.task["large"], request.task["slope"]
    logit = site.logits(request, "test")
    return site.reply(*recalibration_sums(labels, logit, large=large, slope=slope, policy=site.policy))


def explanation(site: LocalSite, request: Request) -> Reply:
    """Sums of Shapley values over the test patients; players of too few patients stay out."""
    from fedescc.client.learning.explain import explain
    from fedescc.common.shapley import summarise

    _require_opened(site, request)
    cohort = site.view(request)
    rows = cohort.rows("test")
    if not may_release(cohort.labels[rows], site.policy):
        return site.reply({}, {"counts": BELOW_MINIMUM})
    model, tensors, encoding = site.prepared(request, "test")
    found = explain(model, tensors, site.study, encoding)
    sums = summarise(found.phi, found.present)
    enough = _enough(sums.n, len(rows), site.policy.min_class_count)
    columns = {"counts": sums.n, "absolute": sums.absolute, "total": sums.total, "squares": sums.squares}
    return site.reply({key: np.where(enough, column, 0).tolist() for key, column in columns.items()})


def split_reply(site: LocalSite, request: Request, split: SplitName) -> tuple[wire.Sums, dict[str, str]]:
    """Sums over one split under the received model, and why any of them is absent."""
    cohort = site.view(request)
    labels = cohort.labels[cohort.rows(split)]
    edges, threshold = request.task["edges"], request.task["threshold"]
    return split_sums(labels, site.logits(request, split), edges=edges, threshold=threshold, policy=site.policy)


def _require_declared(site: LocalSite, request: Request, digest: str) -> None:
    """Refuse a model that was not declared when the fold's test set was first opened."""
    fold = _fold(request)
    first = next((opened for opened in site.opened.values() if opened.fold == fold), None)
    if first is not None and digest not in first.declared:
        raise Refusal("test-already-opened", "another question to the test set", "the test set opens once a run")


def _require_opened(site: LocalSite, request: Request, question: str | None = None) -> Opened:
    """What the test set was opened for; refuses a model, threshold or bins that it was not."""
    opened = site.opened.get(model_digest(request))
    if not site.opened:
        raise Refusal("test-not-opened", "a question about test patients before the test", "ask for the test first")
    if opened is None or question not in (None, opened.question):
        raise Refusal("test-already-opened", "another question to the test set", "the test set opens once a run")
    return opened


def _fold(request: Request) -> str:
    return json.dumps(request.task.get("fold"), sort_keys=True)


def _enough(counts: NDArray[np.int64], patients: int, minimum: int) -> NDArray[np.bool_]:
    """Players whose patients, and whose patients' complement, are none or at least the minimum."""
    without = patients - counts
    enough: NDArray[np.bool_] = (counts >= minimum) & ((without == 0) | (without >= minimum))
    return enough
