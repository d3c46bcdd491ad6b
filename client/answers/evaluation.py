"""Scores, validation, the one look at the test set, and explanation."""

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
from fedescc.client.local_site import LocalSite, Opened
from fedescc.client.site import BELOW_MINIMUM
from fedescc.common import wire
from fedescc.common.errors import Refusal
from fedescc.common.identity import MAX_DECLARED, fold_key, look_digest, model_digest
from fedescc.common.statistics.newton import MAX_EVALUATIONS
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

    The test set of a fold opens once: the first request fixes every look that may be taken at it (``declared``), each
    a model with one threshold and one set of bins; the same request gets the same reply again.

    Raises:
        Refusal: ``test-already-opened`` (a look not declared then, or another declaration), ``too-many-models``.

    """
    look = look_digest(request)
    declared = _declared(site, request, look)
    digest = model_digest(request)
    if (opened := site.opened.get(digest)) is not None:
        if opened.look != look:
            raise _already_opened()
        return opened.reply
    values, reasons = split_reply(site, request, "test")
    cohort = site.view(request)
    labels = cohort.labels[cohort.rows("test")]
    own, own_reasons = site_estimates(labels, site.logits(request, "test"), site.policy)
    reply = site.reply(values | own, reasons | own_reasons)
    site.opened[digest] = Opened(look, reply, fold_key(request), declared)
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
    from fedescc.common.statistics.shapley import summarise

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


def _declared(site: LocalSite, request: Request, look: str) -> tuple[str, ...]:
    """Every look that the fold's test set is opened for, this one among them; refuses what the first did not name."""
    named = tuple(request.task.get("declared") or (look,))
    fold = fold_key(request)
    first = next((opened for opened in site.opened.values() if opened.fold == fold), None)
    if len(named) > MAX_DECLARED:
        raise Refusal("too-many-models", f"{len(named)} looks at one test set", f"declare at most {MAX_DECLARED}")
    if look not in named or (first is not None and named != first.declared):
        raise _already_opened()
    return named


def _require_opened(site: LocalSite, request: Request) -> Opened:
    """The look at the test set that the request follows up; refuses a model that has not looked."""
    fold = fold_key(request)
    if not any(opened.fold == fold for opened in site.opened.values()):
        raise Refusal("test-not-opened", "a question about test patients before the test", "ask for the test first")
    if (opened := site.opened.get(model_digest(request))) is None:
        raise _already_opened()
    return opened


def _already_opened() -> Refusal:
    return Refusal("test-already-opened", "another question to the test set", "the test set opens once a run")


def _enough(counts: NDArray[np.int64], patients: int, minimum: int) -> NDArray[np.bool_]:
    """Players whose patients, and whose patients' complement, are none or at least the minimum."""
    without = patients - counts
    enough: NDArray[np.bool_] = (counts >= minimum) & ((without == 0) | (without >= minimum))
    return enough
