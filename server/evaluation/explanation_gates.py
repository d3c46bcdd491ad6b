"""Gates of the explanation: figures of all sites together, each with its limit and whether it keeps to it."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fedescc.common.statistics.ranks import rank_correlation
from fedescc.common.statistics.roc import Estimate
from fedescc.common.study import REGIONS
from fedescc.common.sums import add_up
from fedescc.server.evaluation.explanation_replies import Baselines, ExplanationShare
from fedescc.server.replies import NOT_RELEASED

# Name -> limit, and whether the value must not exceed it.
LIMITS: dict[str, tuple[float, bool]] = {
    "additivity_error": (1e-5, True),
    "repeat_error": (0.0, True),
    "model_randomisation": (0.8, True),
    "deletion_curve": (0.0, False),
    "inside_roi": (0.5, False),
    "inside_roi_by_sd": (0.5, False),
    "local_baseline": (0.5, False),
}
_NO_IMAGES = "no-images"

Floats = NDArray[np.float64]


def gate_entries(names: Sequence[str], shares: Mapping[str, ExplanationShare]) -> dict[str, dict[str, Any]]:
    """Name -> value, limit, passed; a value that is null has its reason beside it."""
    everyone = list(shares.values())
    values = {
        "additivity_error": _largest(everyone, "additivity_error"),
        "repeat_error": _largest(everyone, "repeat_error"),
        "model_randomisation": _mean(everyone, "random_correlation"),
        "deletion_curve": _deletion(everyone),
        "inside_roi": _inside_roi(names, add_up(share.sums for share in everyone).absolute),
        "inside_roi_by_sd": _inside_roi(names, _spreads(everyone)),
        "local_baseline": _local_baseline(names, everyone),
    }
    return {name: _entry(name, value) for name, value in values.items()}


def local_baseline_entry(names: Sequence[str], shares: Mapping[str, ExplanationShare]) -> dict[str, Any] | None:
    """Mean |φ| of every player under both baselines over the gates' patients; None of a study without images."""
    total = _total_baselines(shares.values())
    if total is None:
        return None
    counted = total.counts > 0
    means = {key: _means(getattr(total, key), total.counts) for key in ("fixed", "local")}
    return {
        name: {
            "n": int(n),
            "fixed": float(means["fixed"][place]) if counted[place] else None,
            "local": float(means["local"][place]) if counted[place] else None,
        }
        for place, (name, n) in enumerate(zip(names, total.counts, strict=True))
    }


def worst_gates(folds: Sequence[Mapping[str, Any]]) -> dict[str, dict[str, Any]]:
    """The gates of several folds as one: of each the worst value, passed if every fold has passed."""
    found = {}
    for name, (_, at_most) in LIMITS.items():
        entries = [fold["gates"][name] for fold in folds if name in fold.get("gates", {})]
        values = [entry["value"] for entry in entries if entry["value"] is not None]
        if values:
            found[name] = _entry(name, Estimate(max(values) if at_most else min(values)))
        elif entries:
            found[name] = dict(entries[0])
    return found


def _entry(name: str, found: Estimate[float]) -> dict[str, Any]:
    limit, at_most = LIMITS[name]
    if found.value is None:
        return {"value": None, "limit": limit, "passed": None, "reason": found.reason}
    passed = found.value <= limit if at_most else found.value > limit
    return {"value": found.value, "limit": limit, "passed": bool(passed)}


def _largest(shares: Sequence[ExplanationShare], key: str) -> Estimate[float]:
    values = [share.figures[key] for share in shares if key in share.figures]
    return Estimate(max(values)) if len(values) == len(shares) and values else Estimate(None, NOT_RELEASED)


def _mean(shares: Sequence[ExplanationShare], key: str) -> Estimate[float]:
    """Over the sites that have it, weighted by their patients."""
    known = [(share.n, share.figures[key]) for share in shares if key in share.figures]
    if not known:
        return Estimate(None, next((share.reasons[key] for share in shares if key in share.reasons), NOT_RELEASED))
    return Estimate(sum(n * value for n, value in known) / sum(n for n, _ in known))


def _deletion(shares: Sequence[ExplanationShare]) -> Estimate[float]:
    known = [(share.n, share.figures["deletion_total"]) for share in shares if "deletion_total" in share.figures]
    if not known:
        return Estimate(None, NOT_RELEASED)
    return Estimate(sum(total for _, total in known) / sum(n for n, _ in known))


def _spreads(shares: Sequence[ExplanationShare]) -> Floats:
    """SD of each player's values: what a removal does to every patient alike is not in it."""
    players = add_up(share.sums for share in shares).players()
    return np.array([row.standard_deviation or 0.0 for row in players])


def _inside_roi(names: Sequence[str], sizes: Floats) -> Estimate[float]:
    """Share of tumour and rim in the sum of all image players' sizes, such as their Σ|φ|."""
    image = _image_players(names)
    if not image.any():
        return Estimate(None, _NO_IMAGES)
    whole = float(sizes[image].sum())
    rest = float(sizes[[name.endswith(f"_{REGIONS[-1]}") for name in names] & image].sum())
    return Estimate(1 - rest / whole) if whole > 0 else Estimate(None, NOT_RELEASED)


def _local_baseline(names: Sequence[str], shares: Sequence[ExplanationShare]) -> Estimate[float]:
    """Rank correlation of the image players' mean |φ| under both baselines: clinical ones need no baseline."""
    image, total = _image_players(names), _total_baselines(shares)
    if not image.any():
        return Estimate(None, _NO_IMAGES)
    if total is None or not (told := image & (total.counts > 0)).any():
        return Estimate(None, NOT_RELEASED)
    return rank_correlation(_means(total.fixed, total.counts)[told], _means(total.local, total.counts)[told])


def _image_players(names: Sequence[str]) -> NDArray[np.bool_]:
    endings = tuple(f"_{region}" for region in REGIONS)
    return np.array([name.startswith(("pre_", "post_")) and name.endswith(endings) for name in names], np.bool_)


def _total_baselines(shares: Any) -> Baselines | None:
    known = [share.baselines for share in shares if share.baselines is not None]
    return add_up(known) if known else None


def _means(sums: Floats, counts: NDArray[np.int64]) -> Floats:
    means: Floats = sums / np.maximum(counts, 1)
    return means
