"""Reason codes in words: why a value is missing, a site was lost, a fold failed or a model could not be had."""

from fedescc.server.report.formats import DASH
from fedescc.server.report.markup import Html, el

REASONS = {
    "class-count-below-minimum": "fewer patients than the minimum count; the site keeps the value",
    "histogram-not-released": "a site's policy does not release score histograms, and the pooled curve needs all",
    "no-site-released-it": "no site released it",
    "not-released": "the site did not release it",
    "not-evaluated": "not evaluated at this site",
    "one-class": "all patients have the same outcome",
    "no-patients": "no patients",
    "no-positives": "no patient has the outcome",
    "no-negatives": "every patient has the outcome",
    "nobody-called-positive": "the threshold calls nobody positive",
    "nobody-called-negative": "the threshold calls everybody positive",
    "fewer-than-two-per-class": "fewer than two patients of one class",
    "auc-at-boundary": "the AUC is 0 or 1, where the interval is undefined",
    "zero-variance": "the scores do not vary",
    "separated": "the scores separate the classes completely, so no finite slope exists",
    "saturated": "all probabilities are 0 or 1 to machine precision",
    "not-converged": "the fit did not converge",
    "contributors-changed": "a site was lost between two steps of the fit",
    "differs-by-fold": "every fold has its own",
    "secondary-suppression": "hidden so that a difference does not reveal another hidden value",
    "no-answer-in-time": "the site did not answer before the deadline",
    "site-error": "the site failed; its own log says why",
    "malformed-message": "the site's answer was not one that the protocol has",
    "study-mismatch": "the site follows another study file",
    "version-mismatch": "the site runs another version",
    "site-name-conflict": "two sites gave the same name",
    "update-not-finite": "the site's update held values that are no finite numbers, and was rejected",
    "update-too-large": "the site's update was larger than any that is accepted, and was rejected",
    "update-wrong-size": "the site's update was not of the model's size, and was rejected",
    "update-without-patients": "the site's update claimed no patients, and was rejected",
    "too-few-training-patients": "the site has fewer training patients than its minimum count",
    "no-training-patients": "the site has no training patients",
    "empty-site": "no patient of the site was included",
    "patients-changed": "the site's patients changed during the run",
    "state-lost": "the site lost what it keeps between rounds",
    "never-trained-here": "the site never trained, so it has no part of the model of its own",
    "no-quorum": "too few sites took part",
    "too-few-sites-for-strategy": "fewer sites took part than the strategy needs",
    "held-out": "the site says that it is held out in this fold",
    "not-held-out": "the site says that this fold tests another site's patients",
    "no-local-model": "the site held out trains no model of its own",
    "no-columns": "there is nothing to learn from",
    "no-images": "the study has no images",
}
PHASES = {
    "query.statistics": "statistics",
    "query.screening": "screening of image features",
    "query.logistic": "logistic regression",
    "evaluate.training_scores": "training scores",
    "evaluate.validation": "validation",
    "evaluate.test": "test",
    "evaluate.recalibration": "recalibration",
    "evaluate.explanation": "explanation",
}


def reason(code: str) -> str:
    """A code in words, with the code itself in brackets; a code that has no words stands alone."""
    return f"{REASONS[code]} ({code})" if code in REASONS else code


def reason_item(name: str, code: str) -> Html:
    """A list item: what is concerned, and why."""
    return el("li", el("b", name), f" {DASH} {reason(code)}")
