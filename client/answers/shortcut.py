"""Whether the model's embeddings tell the site or the vendor: sums over training patients, counts of validation ones.

No label is read and no test patient looked at. Sums of products are told of fewer columns than patients only, of all
of them and of every vendor's, because of as many they could be solved for each. Of one model a site tells the products
of one projection and the counts of one pair of rules: those of many could be put together to more than it tells.
"""

import hashlib
import json

import numpy as np
from numpy.typing import NDArray

from fedescc.client.acquisition.cells import category_cells, last_vendors
from fedescc.client.answers.acquisition import require_one_division
from fedescc.client.answers.logistic import require_more_patients
from fedescc.client.cohort import SiteCohort, SplitName
from fedescc.client.local_site import LocalSite
from fedescc.client.site import BELOW_MINIMUM
from fedescc.common import wire
from fedescc.common.acquisition import VENDORS
from fedescc.common.disclosure.cells import small
from fedescc.common.errors import Refusal
from fedescc.common.identity import fold_key, model_digest
from fedescc.common.shortcut import (
    FEW,
    FEW_RIGHT,
    FEW_WRONG,
    MAX_EMBEDDING,
    TOLD,
    Floats,
    LinearRule,
    read_projection,
    read_rule,
    upper_triangle,
)
from fedescc.common.wire import Reply, Request

MORE_COLUMNS_OF_A_VENDOR = "more-columns-than-patients-of-a-vendor"
_MOST_MODELS = 2  # of a run's fold

Vendors = NDArray[np.int8]


def shortcut(site: LocalSite, request: Request) -> Reply:
    """Moments of the embeddings; with ``projection`` sums of products of its columns; with ``rules`` counts too.

    Raises:
        Refusal: ``no-embeddings``, ``not-in-k-folds``, too few patients, as many columns as patients, too many
            questions, or numbers that do not fit.

    """
    require_one_division(request)
    if "rules" in request.task:
        return _assigned(site, request)
    if "projection" in request.task:
        return _products(site, request)
    return _moments(site, request)


def _moments(site: LocalSite, request: Request) -> Reply:
    """Sums of the embeddings over the training patients, and over each vendor's that may be told."""
    _only_question(site, request, "moments")
    embeddings, vendors = _embedded(site, request, "train")
    cells = category_cells(vendors, len(VENDORS), site.policy.min_class_count)
    totals = [embeddings[vendors == code].sum(axis=0) for code in _told(cells)]
    return site.reply(
        {
            "n": len(embeddings),
            "totals": embeddings.sum(axis=0).tolist(),
            "squares": (embeddings**2).sum(axis=0).tolist(),
            "vendor_counts": cells.tolist(),
            "vendor_totals": np.concatenate([np.zeros(0), *totals]).tolist(),
        }
    )


def _products(site: LocalSite, request: Request) -> Reply:
    """Sums of products of the projection's columns, of all training patients and of each vendor's that may be told."""
    embeddings, vendors = _embedded(site, request, "train")
    projection = read_projection(request.task["projection"], embeddings.shape[1])
    require_more_patients(site.policy, len(embeddings), projection.columns)
    _only_question(site, request, "projection")
    columns = projection.apply(embeddings)
    values: wire.Sums = {"n": len(embeddings), "products": _sums_of_products(columns)}
    cells = category_cells(vendors, len(VENDORS), site.policy.min_class_count)
    try:
        # Those of the patients left over could be subtracted, so they must be as many, too.
        for patients in (int(count) for count in (*cells[:-2], cells[-2] + cells[-1]) if count):
            require_more_patients(site.policy, patients, projection.columns)
    except Refusal:
        return site.reply(values, {"vendor_products": MORE_COLUMNS_OF_A_VENDOR})
    own = [_sums_of_products(columns[vendors == code]) for code in _told(cells)]
    return site.reply(values | {"vendor_products": [value for triangle in own for value in triangle]})


def _assigned(site: LocalSite, request: Request) -> Reply:
    """How many validation patients the rules assign to this site, and to their vendor."""
    embeddings, vendors = _embedded(site, request, "validation")
    projection = read_projection(request.task.get("projection"), embeddings.shape[1])
    columns, rules = projection.apply(embeddings), request.task["rules"]
    if not isinstance(rules, dict):
        raise Refusal("malformed-message", "rules are named", "check the server's version")
    found = {name: read_rule(rule, projection.columns) for name, rule in rules.items() if rule is not None}
    _only_question(site, request, "rules")
    minimum = site.policy.min_class_count
    values: wire.Sums = {"n": len(columns), "minimum": minimum}
    if "site" in found and site.name in found["site"].names:
        values["right"], values["right_hidden"] = _right(found["site"], columns, site.name, minimum)
    if "vendor" in found:
        cells = category_cells(vendors, len(VENDORS), minimum)
        told = {
            code: _right(found["vendor"], columns[vendors == code], VENDORS[code], minimum) for code in _told(cells)
        }
        values["vendor_counts"] = cells.tolist()
        values["vendor_right"] = [count for count, _ in told.values()]
        values["vendor_hidden"] = [hidden for _, hidden in told.values()]
    return site.reply(values)


def _right(rule: LinearRule, columns: Floats, name: str, minimum: int) -> tuple[int, int]:
    """How many rows the rule assigns to the class named (0 where hidden), and whether that is told or which is few."""
    right = int(np.count_nonzero(rule.assign(columns) == rule.names.index(name))) if name in rule.names else 0
    few_right, few_wrong = small(right, minimum), small(len(columns) - right, minimum)
    hidden = {(False, False): TOLD, (True, False): FEW_RIGHT, (False, True): FEW_WRONG, (True, True): FEW}
    code = hidden[few_right, few_wrong]
    return (right if code == TOLD else 0), code


def _embedded(site: LocalSite, request: Request, split: SplitName) -> tuple[Floats, Vendors]:
    """Embeddings (n, d) and vendors (n,) of a split's patients under the received model."""
    from fedescc.client.learning.embed import predict_embeddings

    cohort: SiteCohort = site.view(request)
    rows = cohort.rows(split)
    if len(rows) < site.policy.min_class_count:
        raise Refusal(BELOW_MINIMUM, f"too few {split} patients", "nothing: this site stays out")
    model, tensors, _ = site.prepared(request, split)
    embeddings = predict_embeddings(model, tensors)
    if embeddings.shape[1] > MAX_EMBEDDING:
        raise Refusal("too-many-columns", f"{embeddings.shape[1]} dimensions", f"embed in at most {MAX_EMBEDDING}")
    return embeddings, last_vendors(cohort.acquisition.get("vendor"), rows)


def _told(cells: NDArray[np.int64]) -> list[int]:
    """Vendors whose patients may be told, by code; the last two cells are the unknown and the hidden."""
    return [int(code) for code in np.flatnonzero(cells[:-2])]


def _sums_of_products(columns: Floats) -> list[float]:
    values: list[float] = upper_triangle(columns.T @ columns).tolist()
    return values


def _only_question(site: LocalSite, request: Request, kind: str) -> None:
    """Remember for good what was asked of a model; refuse another projection, other rules, or more models.

    Raises:
        Refusal: ``too-many-questions``.

    """
    content = json.dumps([request.task.get(key) for key in ("projection", "rules")], sort_keys=True)
    digest, place = hashlib.sha256(content.encode()).hexdigest(), f"shortcut {fold_key(request)}"
    if not site.queries.only(place, model_digest(request), kind, digest, _MOST_MODELS):
        raise Refusal("too-many-questions", "another projection, rule or model", "start a new run")
