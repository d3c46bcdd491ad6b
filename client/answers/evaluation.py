"""Scores, validation, and the one look at the test set."""

import numpy as np

from fedescc.client.answers.governed import classes_may_be_told, leaves_few
from fedescc.client.cohort import SiteCohort, SplitName
from fedescc.client.folds import division
from fedescc.client.learning.evaluate import (
    NOT_RELEASED,
    recalibration_sums,
    site_estimates,
    split_sums,
)
from fedescc.client.local_site import LocalSite
from fedescc.client.openings import PatientSet, Place, already_opened
from fedescc.client.site import BELOW_MINIMUM
from fedescc.common import wire
from fedescc.common.disclosure.cells import too_few
from fedescc.common.errors import Refusal
from fedescc.common.identity import MAX_DECLARED, look_digest, model_digest
from fedescc.common.statistics.newton import MAX_EVALUATIONS
from fedescc.common.wire import Reply, Request


def training_scores(site: LocalSite, request: Request) -> Reply:
    """Fine histogram of training logits, both classes together, from which pooled thresholds are chosen."""
    if site.policy.score_histogram == "never":
        return site.reply({}, {"counts": NOT_RELEASED})
    if too_few(len(site.view(request).rows("train")), site.policy.min_class_count):
        return site.reply({}, {"counts": BELOW_MINIMUM})
    counts = np.histogram(site.logits(request, "train"), bins=[-np.inf, *request.task["edges"], np.inf])[0]
    return site.reply({"counts": counts.tolist()})


def validation(site: LocalSite, request: Request) -> Reply:
    """Sums over the validation patients."""
    return site.reply(*split_reply(site, request, "validation"))


def test(site: LocalSite, request: Request) -> Reply:
    """Sums at the locked threshold, this site's own AUC and calibration, and how often the patients were tested before.

    A patient is tested once in a run: the fold's first request fixes every look that may be taken (``declared``), each
    a model with one threshold and one set of bins; the same request gets the same reply again, after a restart too. It
    is recorded before it is answered.

    Raises:
        Refusal: ``plan-mismatch``, ``test-already-opened`` (a look not declared then, another declaration, or patients
            whom another fold of the run has tested), ``too-many-models``, ``lost-records``.

    """
    cohort, look = site.view(request), look_digest(request)
    patients = cohort.rows("test")
    tested = PatientSet(
        site.study.sha256, _plan(site, request), Place.of(request), tuple(cohort.keys[row] for row in patients)
    )
    opened = site.openings.look(tested, _declared(request, look), model_digest(request), look)
    if (known := site.looks.get(look)) is not None:
        return known
    values, reasons = split_reply(site, request, "test")
    if "n" in values:
        own, own_reasons = site_estimates(cohort.labels[patients], site.logits(request, "test"), site.policy)
        values, reasons = values | own, reasons | own_reasons
    site.looks[look] = site.reply({**values, "openings_before": opened.before}, reasons)
    return site.looks[look]


def recalibration(site: LocalSite, request: Request) -> Reply:
    """Newton terms of two recalibration models on the test patients."""
    if site.openings.count_question(Place.of(request), model_digest(request)) > MAX_EVALUATIONS:
        raise Refusal("too-many-questions", "more recalibration steps than a fit can need", "start a new run")
    cohort = site.view(request)
    rows = cohort.rows("test")
    if not may_tell(site, cohort, "test"):
        return site.reply({}, {"n": BELOW_MINIMUM})
    large, slope = request.task["large"], request.task["slope"]
    logit = site.logits(request, "test")
    return site.reply(*recalibration_sums(cohort.labels[rows], logit, large=large, slope=slope, policy=site.policy))


def split_reply(site: LocalSite, request: Request, split: SplitName) -> tuple[wire.Sums, dict[str, str]]:
    """Sums over one split under the received model, and why any of them is absent."""
    cohort = site.view(request)
    if not may_tell(site, cohort, split):
        return {}, {"n": BELOW_MINIMUM}
    labels = cohort.labels[cohort.rows(split)]
    edges, threshold = request.task["edges"], request.task["threshold"]
    return split_sums(labels, site.logits(request, split), edges=edges, threshold=threshold, policy=site.policy)


def may_tell(site: LocalSite, cohort: SiteCohort, split: SplitName) -> bool:
    """Whether sums by class may be told of a split: of enough patients of each, also where two folds differ."""
    rows, minimum = cohort.rows(split), site.policy.min_class_count
    if site.division == division(None) and leaves_few(site.cohort, rows, minimum):
        return False
    return classes_may_be_told(cohort, rows, minimum)


def require_opened(site: LocalSite, request: Request) -> str:
    """Digest of the look at the test set that the request follows up; refuses a model that has not looked.

    Raises:
        Refusal: ``test-not-opened``, ``test-already-opened``, ``lost-records``.

    """
    return site.openings.looked(Place.of(request), model_digest(request))


def _plan(site: LocalSite, request: Request) -> str:
    """The digest of the analysis plan, which must be that of the site's own study."""
    plan = site.study.analysis.sha256
    if request.task.get("plan") != plan:
        what = "the test set was not asked for under this study's analysis plan"
        raise Refusal("plan-mismatch", what, "declare the plan of this study before the test set opens")
    return plan


def _declared(request: Request, look: str) -> list[str]:
    """Every look that the fold's test set is opened for, this one among them."""
    named = request.task.get("declared") or [look]
    if not isinstance(named, list) or not all(isinstance(one, str) for one in named):
        raise Refusal("malformed-message", "looks are declared as a list of digests", "check the server's version")
    if len(named) > MAX_DECLARED:
        raise Refusal("too-many-models", f"{len(named)} looks at one test set", f"declare at most {MAX_DECLARED}")
    if look not in named:
        raise already_opened()
    return named
