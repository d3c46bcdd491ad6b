"""What a site answers to each message type, from its own cohort; every answer still passes egress."""

import hashlib
import json
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from fedescc.client.cohort import SiteCohort, SplitName
from fedescc.client.intake.eligibility import INCLUDED
from fedescc.client.learning.evaluate import (
    BELOW_MINIMUM,
    NOT_RELEASED,
    may_release,
    recalibration_sums,
    site_estimates,
    split_sums,
)
from fedescc.client.site import ReleasePolicy
from fedescc.common import wire
from fedescc.common.arrays import load_parameters
from fedescc.common.covariates import CovariateSums, Encoding, column_sums
from fedescc.common.errors import Refusal
from fedescc.common.federation import Federation
from fedescc.common.recalibration import MAX_EVALUATIONS
from fedescc.common.study import Study
from fedescc.common.wire import Reply, Request
from fedescc.common.yamlfile import check_model

if TYPE_CHECKING:
    from fedescc.client.learning.dataset import SiteTensors

Floats = NDArray[np.float64]

TOO_FEW = "too-few-training-patients"


@dataclass
class LocalSite:
    """One hospital during a run: its name, its own copy of the study, its release policy and its cohort.

    The test set opens once: the first test request fixes model, threshold and bins, and every later request about
    test patients must be about that model; the same test request gets the same reply again.
    """

    name: str
    study: Study
    policy: ReleasePolicy
    cohort: SiteCohort
    _logits: dict[tuple[str, str], Floats] = field(default_factory=dict, repr=False)
    _opened: "_Opened | None" = None
    _recalibrations: int = 0

    def __post_init__(self) -> None:
        floor = self.study.disclosure.min_class_count
        strict = max(floor, self.policy.min_class_count)
        self.policy = self.policy.model_copy(update={"min_class_count": strict})

    def answer(self, message_type: str, request: Request) -> Reply:
        """The reply to one request.

        Raises:
            Refusal: another study, an unknown message type, or a request that cannot be served.

        """
        if request.study_sha256 != self.study.sha256:
            raise Refusal("study-mismatch", "the server follows another study", "use the study file of this run")
        handler = _HANDLERS.get(message_type)
        if handler is None:
            raise Refusal("unknown-message-type", f"{message_type!r} is not served", "check the server's version")
        return handler(self, request)

    def reply(self, sums: wire.Sums, reasons: dict[str, str] | None = None, **arrays: Any) -> Reply:
        """A reply in this site's name."""
        return Reply(self.name, self.study.sha256, sums, reasons=reasons or {}, **arrays)


@dataclass(frozen=True)
class _Opened:
    """The one look at the test set."""

    model: str
    question: str
    reply: Reply


def _statistics(site: LocalSite, request: Request) -> Reply:
    """Moments of the training patients' covariates and the cohort's flow; small counts stay here."""
    del request
    rows = site.cohort.rows("train")
    minimum = site.policy.min_class_count
    sums = _hide_small(column_sums(site.study, site.cohort.numeric, rows), minimum)
    counts, totals, squares = (row.tolist() for row in sums.table)
    values: wire.Sums = {"covariate_counts": counts, "covariate_totals": totals, "covariate_squares": squares}
    flow, reasons = _governed_flow(site)
    if len(rows) >= minimum:
        return site.reply(values | flow | {"n_train": len(rows)}, reasons)
    return site.reply(values | flow, reasons | {"n_train": BELOW_MINIMUM})


def _hide_small(sums: CovariateSums, minimum: int) -> CovariateSums:
    """A sum over fewer patients than the minimum is left out: it might be one patient's value."""
    return CovariateSums(sums.names, np.where(sums.table[0] >= minimum, sums.table, 0))


def _governed_flow(site: LocalSite) -> tuple[wire.Sums, dict[str, str]]:
    """Included, excluded and excluded by rule; one small cell hides the whole breakdown, or a sum would tell it."""
    excluded = {code: count for code, count in site.cohort.flow.items() if code != INCLUDED}
    by_rule = flow_counts(site.study, excluded)
    minimum = site.policy.min_class_count
    values: wire.Sums = {"flow_included": len(site.cohort), "flow_excluded": sum(by_rule), "flow_by_rule": by_rule}
    small = {key: 0 < total < minimum for key, total in (("included", len(site.cohort)), ("excluded", sum(by_rule)))}
    hidden = {f"flow_{key}" for key, is_small in small.items() if is_small}
    if hidden or any(0 < count < minimum for count in by_rule):
        hidden.add("flow_by_rule")
    return {key: value for key, value in values.items() if key not in hidden}, dict.fromkeys(hidden, BELOW_MINIMUM)


def flow_counts(study: Study, excluded: dict[str, int]) -> list[int]:
    """Excluded patients per eligibility rule in protocol order, and last those excluded for any other reason."""
    codes = [rule.code for rule in study.eligibility.inclusion + study.eligibility.exclusion]
    counts = dict.fromkeys([*codes, "other"], 0)
    for code, count in excluded.items():
        rule = code.split(":")[0]
        counts[rule if rule in counts else "other"] += count
    return list(counts.values())


def _train(site: LocalSite, request: Request) -> Reply:
    """Evaluate the received model on the validation patients, then train it on the training patients."""
    from fedescc.client.learning.train import train_round

    federation = check_model(request.task["federation"], Federation, "the server's settings")
    rows = site.cohort.rows("train")
    if len(rows) < site.policy.min_class_count:
        raise Refusal(TOO_FEW, f"{len(rows)} training patients", "an update of so few would speak of single patients")
    model, tensors, _ = _prepared(site, request, "train")
    result = train_round(
        model,
        tensors,
        federation.training,
        seed=federation.seed,
        round=request.task["round"],
        rounds=federation.rounds,
        site=site.name,
        mu=federation.strategy.mu,
    )
    values, reasons = _split_reply(site, request, "validation")
    sums: wire.Sums = {"n": len(rows), "updates": result.updates, "loss": result.loss}
    sums |= {f"validation_{key}": value for key, value in values.items()}
    codes = {f"validation_{key}": code for key, code in reasons.items()}
    return site.reply(sums, codes, delta=result.delta)


def _training_scores(site: LocalSite, request: Request) -> Reply:
    """Fine histogram of training logits, both classes together, from which pooled thresholds are chosen."""
    rows = site.cohort.rows("train")
    if site.policy.score_histogram == "never":
        return site.reply({}, {"counts": NOT_RELEASED})
    if len(rows) < site.policy.min_class_count:
        return site.reply({}, {"counts": BELOW_MINIMUM})
    counts = np.histogram(site_logits(site, request, "train"), bins=[-np.inf, *request.task["edges"], np.inf])[0]
    return site.reply({"counts": counts.tolist()})


def _validation(site: LocalSite, request: Request) -> Reply:
    return site.reply(*_split_reply(site, request, "validation"))


def _test(site: LocalSite, request: Request) -> Reply:
    """Sums at the locked threshold, and this site's own AUC and calibration."""
    question = json.dumps([request.task["edges"], request.task["threshold"]])
    if site._opened is not None:
        _require_opened(site, request, question)
        return site._opened.reply
    values, reasons = _split_reply(site, request, "test")
    labels = site.cohort.labels[site.cohort.rows("test")]
    own, own_reasons = site_estimates(labels, site_logits(site, request, "test"), site.policy)
    reply = site.reply(values | own, reasons | own_reasons)
    site._opened = _Opened(_model_digest(request), question, reply)
    return reply


def _require_opened(site: LocalSite, request: Request, question: str | None = None) -> None:
    """Refuse a second look at the test set with another model, threshold or other bins."""
    opened = site._opened
    if opened is None:
        raise Refusal("test-not-opened", "a question about test patients before the test", "ask for the test first")
    if opened.model != _model_digest(request) or question not in (None, opened.question):
        raise Refusal("test-already-opened", "another question to the test set", "the test set opens once a run")


def _recalibration(site: LocalSite, request: Request) -> Reply:
    _require_opened(site, request)
    site._recalibrations += 1
    if site._recalibrations > MAX_EVALUATIONS:
        raise Refusal("too-many-questions", "more recalibration steps than a fit can need", "start a new run")
    labels = site.cohort.labels[site.cohort.rows("test")]
    logit = site_logits(site, request, "test")
    large, slope = request.task["large"], request.task["slope"]
    return site.reply(*recalibration_sums(labels, logit, large=large, slope=slope, policy=site.policy))


def _explanation(site: LocalSite, request: Request) -> Reply:
    """Sums of Shapley values over the test patients; players of too few patients stay out."""
    from fedescc.client.learning.explain import explain
    from fedescc.common.shapley import summarise

    _require_opened(site, request)
    rows = site.cohort.rows("test")
    if not may_release(site.cohort.labels[rows], site.policy):
        return site.reply({}, {"counts": BELOW_MINIMUM})
    model, tensors, encoding = _prepared(site, request, "test")
    explanation = explain(model, tensors, site.study, encoding)
    sums = summarise(explanation.phi, explanation.present)
    enough = _enough(sums.n, len(rows), site.policy.min_class_count)
    columns = {"counts": sums.n, "absolute": sums.absolute, "total": sums.total, "squares": sums.squares}
    return site.reply({key: np.where(enough, column, 0).tolist() for key, column in columns.items()})


def _enough(counts: NDArray[np.int64], patients: int, minimum: int) -> NDArray[np.bool_]:
    """Players whose patients, and whose patients' complement, are none or at least the minimum."""
    without = patients - counts
    enough: NDArray[np.bool_] = (counts >= minimum) & ((without == 0) | (without >= minimum))
    return enough


def _split_reply(site: LocalSite, request: Request, split: SplitName) -> tuple[wire.Sums, dict[str, str]]:
    labels = site.cohort.labels[site.cohort.rows(split)]
    logit = site_logits(site, request, split)
    edges, threshold = request.task["edges"], request.task["threshold"]
    return split_sums(labels, logit, edges=edges, threshold=threshold, policy=site.policy)


def site_logits(site: LocalSite, request: Request, split: SplitName) -> Floats:
    """Logits of one split under the received weights; kept until other weights arrive."""
    from fedescc.client.learning.predict import predict_logits

    key = (_model_digest(request), split)
    if key not in site._logits:
        site._logits = {old: value for old, value in site._logits.items() if old[0] == key[0]}
        model, tensors, _ = _prepared(site, request, split)
        site._logits[key] = predict_logits(model, tensors) if len(tensors) else np.zeros(0)
    return site._logits[key]


def _model_digest(request: Request) -> str:
    """Identity of a model: its weights and the encoding of its inputs."""
    digest = hashlib.sha256(np.ascontiguousarray(_weights(request)).data)
    digest.update(json.dumps(request.task["encoding"], sort_keys=True).encode())
    return digest.hexdigest()


def _prepared(site: LocalSite, request: Request, split: SplitName) -> tuple[Any, "SiteTensors", Encoding]:
    """The received model, a split's patients as its inputs, and the encoding of both."""
    from fedescc.client.learning.dataset import SiteTensors
    from fedescc.common.model import build_model

    weights = _weights(request)
    encoding = check_model(request.task["encoding"], Encoding, "the server's encoding")
    model = build_model(site.study, len(encoding.columns), seed=0)  # every weight is overwritten next
    load_parameters(model, weights)
    return model, SiteTensors.from_cohort(site.cohort, encoding, site.cohort.rows(split)), encoding


def _weights(request: Request) -> NDArray[np.float32]:
    if request.weights is None:
        raise Refusal("malformed-message", "the request carries no weights", "check the server's version")
    return request.weights


_HANDLERS: dict[str, Callable[[LocalSite, Request], Reply]] = {
    wire.STATISTICS: _statistics,
    wire.TRAIN: _train,
    wire.TRAINING_SCORES: _training_scores,
    wire.VALIDATION: _validation,
    wire.TEST: _test,
    wire.RECALIBRATION: _recalibration,
    wire.EXPLANATION: _explanation,
}
