"""What a site answers to each message type, from its own cohort; every answer still passes egress."""

import hashlib
import json
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fedescc.client.cohort import SiteCohort, SplitName
from fedescc.client.learning.evaluate import (
    BELOW_MINIMUM,
    NOT_RELEASED,
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
from fedescc.common.study import Study
from fedescc.common.wire import Reply, Request
from fedescc.common.yamlfile import check_model

Floats = NDArray[np.float64]


@dataclass
class LocalSite:
    """One hospital during a run: its name, its own copy of the study, its release policy and its cohort."""

    name: str
    study: Study
    policy: ReleasePolicy
    cohort: SiteCohort
    _logits: dict[tuple[str, str], Floats] = field(default_factory=dict, repr=False)

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


def _statistics(site: LocalSite, request: Request) -> Reply:
    """Moments of the training patients' covariates and the cohort's flow; small counts stay here."""
    del request
    rows = site.cohort.rows("train")
    sums = _hide_small(column_sums(site.study, site.cohort.numeric, rows), site.policy.min_class_count)
    counts, totals, squares = (row.tolist() for row in sums.table)
    values: wire.Sums = {
        "n_train": len(rows),
        "covariate_counts": counts,
        "covariate_totals": totals,
        "covariate_squares": squares,
    }
    flow, reasons = _governed_flow(site)
    return site.reply(values | flow, reasons)


def _hide_small(sums: CovariateSums, minimum: int) -> CovariateSums:
    """A sum over fewer patients than the minimum is left out: it might be one patient's value."""
    return CovariateSums(sums.names, np.where(sums.table[0] >= minimum, sums.table, 0))


def _governed_flow(site: LocalSite) -> tuple[wire.Sums, dict[str, str]]:
    """Included, excluded and excluded by rule; one small cell hides the whole breakdown, or a sum would tell it."""
    excluded = {code: count for code, count in site.cohort.flow.items() if code != "included"}
    total = sum(excluded.values())
    minimum = site.policy.min_class_count
    if 0 < total < minimum:
        return {"flow_included": len(site.cohort)}, {"flow_excluded": BELOW_MINIMUM, "flow_by_rule": BELOW_MINIMUM}
    known: wire.Sums = {"flow_included": len(site.cohort), "flow_excluded": total}
    by_rule = flow_counts(site.study, excluded)
    if any(0 < count < minimum for count in by_rule):
        return known, {"flow_by_rule": BELOW_MINIMUM}
    return known | {"flow_by_rule": by_rule}, {}


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
    from fedescc.client.learning.dataset import SiteTensors
    from fedescc.client.learning.train import train_round

    weights, task = _weights(request), request.task
    federation = check_model(task["federation"], Federation, "the server's settings")
    encoding = _encoding(task)
    rows = site.cohort.rows("train")
    if not len(rows):
        raise Refusal("no-training-patients", "this site has no training patient", "check intake and the split")
    model = _model(site, encoding, weights)
    tensors = SiteTensors.from_cohort(site.cohort, encoding, rows)
    result = train_round(
        model,
        tensors,
        federation.training,
        seed=federation.seed,
        round=task["round"],
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
    values, reasons = _split_reply(site, request, "test")
    rows = site.cohort.rows("test")
    own, own_reasons = site_estimates(site.cohort.labels[rows], site_logits(site, request, "test"), site.policy)
    return site.reply(values | own, reasons | own_reasons)


def _recalibration(site: LocalSite, request: Request) -> Reply:
    rows = site.cohort.rows("test")
    logit = site_logits(site, request, "test")
    large, slope = request.task["large"], request.task["slope"]
    labels = site.cohort.labels[rows]
    return site.reply(*recalibration_sums(labels, logit, large=large, slope=slope, policy=site.policy))


def _explanation(site: LocalSite, request: Request) -> Reply:
    """Sums of Shapley values over the test patients."""
    from fedescc.client.learning.dataset import SiteTensors
    from fedescc.client.learning.explain import explain
    from fedescc.common.shapley import summarise

    rows = site.cohort.rows("test")
    if len(rows) < max(site.policy.min_class_count, 1):
        return site.reply({}, {"n": BELOW_MINIMUM})
    encoding = _encoding(request.task)
    model = _model(site, encoding, _weights(request))
    tensors = SiteTensors.from_cohort(site.cohort, encoding, rows)
    explanation = explain(model, tensors, site.study, encoding)
    sums = summarise(explanation.phi, explanation.present)
    columns = {"counts": sums.n, "absolute": sums.absolute, "total": sums.total, "squares": sums.squares}
    return site.reply({"n": len(rows), **{key: column.tolist() for key, column in columns.items()}})


def _split_reply(site: LocalSite, request: Request, split: SplitName) -> tuple[wire.Sums, dict[str, str]]:
    labels = site.cohort.labels[site.cohort.rows(split)]
    logit = site_logits(site, request, split)
    edges, threshold = request.task["edges"], request.task["threshold"]
    return split_sums(labels, logit, edges=edges, threshold=threshold, policy=site.policy)


def site_logits(site: LocalSite, request: Request, split: SplitName) -> Floats:
    """Logits of one split under the received weights; kept until other weights arrive."""
    from fedescc.client.learning.dataset import SiteTensors
    from fedescc.client.learning.predict import predict_logits

    weights = _weights(request)
    key = (hashlib.sha256(weights.tobytes()).hexdigest(), split)
    if key not in site._logits:
        site._logits = {old: value for old, value in site._logits.items() if old[0] == key[0]}
        encoding = _encoding(request.task)
        rows = site.cohort.rows(split)
        tensors = SiteTensors.from_cohort(site.cohort, encoding, rows)
        site._logits[key] = predict_logits(_model(site, encoding, weights), tensors) if len(rows) else np.zeros(0)
    return site._logits[key]


def _model(site: LocalSite, encoding: Encoding, weights: NDArray[np.float32]) -> Any:
    from fedescc.common.model import build_model

    model = build_model(site.study, len(encoding.columns), seed=0)  # every weight is overwritten next
    load_parameters(model, weights)
    return model


def _weights(request: Request) -> NDArray[np.float32]:
    if request.weights is None:
        raise Refusal("malformed-message", "the request carries no weights", "check the server's version")
    return request.weights


def _encoding(task: dict[str, Any]) -> Encoding:
    return Encoding.model_validate_json(json.dumps(task["encoding"]))


_HANDLERS: dict[str, Callable[[LocalSite, Request], Reply]] = {
    wire.STATISTICS: _statistics,
    wire.TRAIN: _train,
    wire.TRAINING_SCORES: _training_scores,
    wire.VALIDATION: _validation,
    wire.TEST: _test,
    wire.RECALIBRATION: _recalibration,
    wire.EXPLANATION: _explanation,
}
