"""Sums for a federated logistic regression, of training patients' columns or of validation patients' scores.

Gradient and Hessian are sums over patients, but of as many columns as patients they can be solved for each of them, and
the entry of a category that one patient has is that patient's. Unless the site's policy says ``small_newton: plain``,
such a regression is refused, and patients in a rare category count as being in the site's most frequent one.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from fedescc.client.answers.governed import classes_may_be_told, governed, rule_of, screened_variables
from fedescc.client.cohort import SiteCohort, SplitName
from fedescc.client.folds import TOO_SMALL
from fedescc.client.local_site import LocalSite
from fedescc.client.site import BELOW_MINIMUM, ReleasePolicy
from fedescc.common.disclosure.cells import both_reach
from fedescc.common.disclosure.groups import classes_told, smallest
from fedescc.common.errors import Refusal
from fedescc.common.identity import MAX_DECLARED, fold_key, inputs_digest, model_digest
from fedescc.common.statistics.logistic import MAX_COLUMNS, MAX_QUESTIONS, terms
from fedescc.common.statistics.roc import Floats
from fedescc.common.tabular.columns import CategoricalColumns
from fedescc.common.tabular.covariates import Encoding
from fedescc.common.tabular.received import received_encoding
from fedescc.common.wire import Reply, Request

MORE_COLUMNS = "more-columns-than-patients"
_MOST_WEIGHT = 1e3


def logistic(site: LocalSite, request: Request) -> Reply:
    """Exact Newton terms at the received coefficients.

    A request with ``models`` asks for the regression on their scores over the validation patients, whom no model was
    trained on; any other for that on the encoding's columns over the training patients.

    Raises:
        Refusal: too few patients of a class (``fold-too-small`` where two folds differ by too few), as many columns
            as patients, too many questions, or bad coefficients.

    """
    fusion = "models" in request.task
    split: SplitName = "validation" if fusion else "train"
    cohort = site.view(request)
    rows = cohort.rows(split)
    require_classes(site, cohort, split)
    _count_question(site, request)
    X = site.scores(request, split) if fusion else _columns(site, request, rows)
    require_more_patients(site.policy, smallest(cohort.groups(rows)), X.shape[1] + 1)
    coefficients, weights = _numbers(request.task["coefficients"]), _class_weights(request)
    found = terms(X, cohort.labels[rows], coefficients, weights)
    return site.reply(
        {
            "n": found.n,
            "n_pos": found.n_pos,
            "loss": found.loss,
            "gradient": found.gradient.tolist(),
            "hessian": found.hessian.tolist(),
        }
    )


def require_classes(site: LocalSite, cohort: SiteCohort, split: SplitName) -> None:
    """Refuse sums by class of a split with too few patients of a class, altogether or in a group that folds differ by.

    Raises:
        Refusal: ``class-count-below-minimum``, ``fold-too-small``.

    """
    rows, minimum = cohort.rows(split), site.policy.min_class_count
    labels = cohort.labels[rows]
    if not both_reach(int(labels.sum()), len(labels), minimum):
        raise Refusal(BELOW_MINIMUM, f"too few {split} patients of a class", "nothing: this site stays out")
    by_group = classes_told(labels, cohort.groups(rows), minimum)
    if not (by_group and classes_may_be_told(cohort, rows, minimum)):
        what = "a group of patients that two folds differ by has too few of a class"
        raise Refusal(TOO_SMALL, what, "ask for fewer folds, or go on without this site")


def require_more_patients(policy: ReleasePolicy, patients: int, columns: int) -> None:
    """Refuse sums of products of as many columns as patients, unless the site's policy allows them.

    Raises:
        Refusal: ``more-columns-than-patients``.

    """
    if columns >= patients and policy.small_newton == "never":
        raise Refusal(MORE_COLUMNS, f"{columns} columns of {patients} patients", "ask for fewer columns")


def governed_columns(site: LocalSite, request: Request, encoding: Encoding, rows: NDArray[np.intp]) -> Floats:
    """The encoding's columns of a whole split's rows, (rows, columns), as sums of them may leave."""
    cohort, rule = site.view_with(request, [covariate.name for covariate in encoding.covariates]), rule_of(site.policy)
    if site.policy.small_newton == "plain":
        return encoding.encode(cohort.numeric, cohort.categorical, rows).astype(np.float64)
    known = screened_variables(site.study)
    variables = {covariate.name: known[covariate.name] for covariate in encoding.covariates if covariate.name in known}
    told, groups = governed(cohort, rows, variables, rule), cohort.groups(rows)
    X = encoding.encode(told.numeric, told.categorical, rows).astype(np.float64)
    for group in np.unique(groups):
        X[groups == group] = merge_rare(encoding, X[groups == group], rule.minimum)
    return X


def merge_rare(encoding: Encoding, X: Floats, minimum: int) -> Floats:
    """The columns of a group with patients of a rare category, or rarely missing or present, moved to the usual case.

    Then every flag, and every difference of flags of one covariate, is of no patient or of at least ``minimum``.

    Args:
        encoding: of the columns.
        X: (n, columns).
        minimum: fewest patients that anything may be said of.

    """
    merged, first = X.copy(), 0
    for covariate in encoding.covariates:
        own = slice(first, first + len(covariate.labels()))
        merged[:, own] = _without_rare(merged[:, own], isinstance(covariate, CategoricalColumns), minimum)
        first = own.stop
    return merged


def _without_rare(block: Floats, categorical: bool, minimum: int) -> Floats:
    flags = block if categorical else np.column_stack([1 - block[:, 1], block[:, 1]])
    counts = flags.sum(axis=0)
    rare = flags[:, (counts > 0) & (counts < minimum)].any(axis=1)
    if not rare.any():
        return block
    usual = np.eye(len(counts))[int(np.argmax(counts))]
    # A number is present at its mean, 0, or missing.
    changed = block.copy()
    changed[rare] = usual if categorical else [0.0, usual[1]]
    return changed


def _columns(site: LocalSite, request: Request, rows: NDArray[np.intp]) -> Floats:
    encoding = received_encoding(request.task, site.study)
    if len(encoding.columns) > MAX_COLUMNS:
        raise Refusal("too-many-columns", f"{len(encoding.columns)} columns", f"ask for at most {MAX_COLUMNS}")
    return governed_columns(site, request, encoding, rows)


def _count_question(site: LocalSite, request: Request) -> None:
    """Bound how many models of a run's fold are asked for, and how often each."""
    asked = site.questions.setdefault(fold_key(request), {})
    model = inputs_digest(request) if request.weights is None else model_digest(request)
    asked[model] = asked.get(model, 0) + 1
    if asked[model] > MAX_QUESTIONS or len(asked) > MAX_DECLARED:
        raise Refusal("too-many-questions", "more questions than fits can need", "start a new run")


def _class_weights(request: Request) -> tuple[float, float]:
    weights = _numbers(request.task.get("class_weights", [1.0, 1.0]))
    if weights.shape != (2,) or not (weights.min() > 0 and weights.max() <= _MOST_WEIGHT):
        raise Refusal("malformed-message", "class weights are two numbers above 0", "check the server's version")
    return float(weights[0]), float(weights[1])


def _numbers(value: Any) -> Floats:
    if not isinstance(value, list) or not all(isinstance(number, int | float) for number in value):
        raise Refusal("malformed-message", "a list of numbers is expected", "check the server's version")
    return np.asarray(value, dtype=np.float64)
