"""Counts of sites as they would tell them, for planning."""

from fedescc.common.analysis import all_levels
from fedescc.common.counts import HIDDEN, site_counts
from fedescc.common.wire import Reply, installed_version


def reply(study, site, splits, levels=None, **changes):
    """Splits are (patients, positives) of training, validation and test; None is kept."""
    names = all_levels(study)
    cells = [(levels or {}).get(name, (HIDDEN, HIDDEN)) for name in names]
    shown = [pair or (HIDDEN, HIDDEN) for pair in splits]
    sums = {
        "split_patients": [patients for patients, _ in shown],
        "split_positives": [positives for _, positives in shown],
        "level_patients": [patients for patients, _ in cells],
        "level_positives": [positives for _, positives in cells],
        "missing": [0] * len(study.covariates),
    }
    if None not in splits:
        sums["included"] = sum(patients for patients, _ in splits)
        sums["positives"] = sum(positives for _, positives in splits)
    sums = {key: value for key, value in (sums | changes).items() if value is not None}
    reasons = {key: "class-count-below-minimum" for key in ("included", "positives") if key not in sums}
    return Reply(site, study.sha256, sums, reasons=reasons)


def told(study, site, splits, levels=None, **changes):
    return site_counts(study, reply(study, site, splits, levels, **changes))


def document(study, site, splits, levels=None, **changes):
    """The content of a site's file."""
    one = reply(study, site, splits, levels, **changes)
    head = {"format": "fedescc-counts-1", "version": installed_version(), "site": site, "study_sha256": study.sha256}
    return {**head, "sums": one.sums, "reasons": one.reasons}
