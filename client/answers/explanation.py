"""Sums of exact Shapley values of the test patients, after the test set has been opened to the model.

Of one model a site explains its players, and the columns of a linear one, under one reference each: sums of |phi|
under many references could be put together until they tell where single values lie.
"""

import hashlib
import json
from typing import TYPE_CHECKING

import numpy as np

from fedescc.client.answers.evaluation import may_tell, require_opened
from fedescc.client.answers.logistic import governed_columns
from fedescc.client.local_site import LINEAR, LocalSite
from fedescc.client.site import BELOW_MINIMUM
from fedescc.common.errors import Refusal
from fedescc.common.identity import MAX_DECLARED, fold_key, model_digest
from fedescc.common.wire import Reply, Request

if TYPE_CHECKING:
    from fedescc.client.explanation.survey import Subject, Survey

COLUMNS = "columns"
_DIGITS = 8


def explanation(site: LocalSite, request: Request) -> Reply:
    """Sums of Shapley values over the test patients, and the gates; players of too few patients stay out.

    Where the site's policy says so, a page of the patients' own explanations is written for local eyes.

    Raises:
        Refusal: ``test-not-opened``, ``test-already-opened``, ``another-reference`` (the model was explained under
            one before), ``no-columns`` (of a model that is not linear), ``malformed-message``.

    """
    from fedescc.client.explanation.release import released_sums

    require_opened(site, request)
    cohort = site.view(request)
    if not may_tell(site, cohort, "test"):
        return site.reply({}, {"counts": BELOW_MINIMUM})
    asked, wanted = f"{model_digest(request)}:{request.task.get('players')}", request.task.get("reference")
    reference, known = site.explanations.get(asked, (None, None))
    if known is not None and reference == wanted:
        return known
    subject = _subject(site, request)
    _only_reference(site, request)
    survey = _survey(subject, request)
    minimum, percent = site.policy.min_class_count, site.policy.dominance_percent
    reply = site.reply(*released_sums(survey, minimum, percent))
    site.explanations[asked] = wanted, reply
    if site.policy.explanation_pages == "local":
        from fedescc.client.explanation.page import write_page

        keys = [cohort.keys[row] for row in cohort.rows("test")]
        write_page(site.folder, request, subject, survey, keys, _page_name(request))
    return reply


def _subject(site: LocalSite, request: Request) -> "Subject":
    from fedescc.client.explanation.survey import Subject

    model, tensors, encoding = site.prepared(request, "test")
    rows = site.view(request).rows("test")
    reference = request.task.get("reference") or [0.0] * len(encoding.columns)
    if len(reference) != len(encoding.columns):
        raise Refusal("malformed-message", "a reference needs one value a column", "check the server's version")
    governed = governed_columns(site, request, encoding, rows)
    logits = site.logits(request, "test")
    minimum = site.policy.min_class_count
    return Subject(model, tensors, governed, logits, encoding, np.array(reference), site.study, minimum)


def _only_reference(site: LocalSite, request: Request) -> None:
    """Remember for good under which reference a model is explained."""
    kind, place = str(request.task.get("players")), f"explanation {fold_key(request)}"
    digest = hashlib.sha256(json.dumps(request.task.get("reference")).encode()).hexdigest()
    if not site.queries.only(place, model_digest(request), kind, digest, MAX_DECLARED):
        raise Refusal("another-reference", "this model was explained under another one", "start a new run")


def _survey(subject: "Subject", request: Request) -> "Survey":
    """Of a comparator its columns, of the run's own model the study's players, or the columns where asked for."""
    from fedescc.client.explanation.survey import survey_columns, survey_players
    from fedescc.common.network.model import LinearModel

    if request.task.get("model") != LINEAR and request.task.get("players") != COLUMNS:
        return survey_players(subject)
    if not isinstance(subject.model, LinearModel):
        raise Refusal("no-columns", "this model is not linear in its columns", "ask for the study's players")
    return survey_columns(subject)


def _page_name(request: Request) -> str:
    """Of the run's own model ``network``; of a comparator, which has no name here, its digest's first digits."""
    own = "network" if request.task.get("model") is None else f"linear-{model_digest(request)[:_DIGITS]}"
    return own if request.task.get("players") is None else f"{own}-{COLUMNS}"
