"""How features differ between the classes, and how they go together; sums over the training patients."""

from typing import Any

from fedescc.client.answers.governed import governed, rule_of, screened_variables
from fedescc.client.answers.logistic import require_classes, require_more_patients
from fedescc.client.local_site import LocalSite
from fedescc.common.disclosure.groups import smallest
from fedescc.common.errors import Refusal
from fedescc.common.protocol import NumericVariable
from fedescc.common.statistics.relevance import MAX_CANDIDATES, MAX_SCREENED, class_moments, products
from fedescc.common.study import Study
from fedescc.common.tabular.moments import STEPS
from fedescc.common.wire import Reply, Request


def screening(site: LocalSite, request: Request) -> Reply:
    """Moments of the features named by class; with ``centres``, sums of products of every two of them instead.

    Raises:
        Refusal: too few training patients of a class (``fold-too-small`` where two folds differ by too few), too many
            or unknown features, as many of them as patients where products are asked for.

    """
    centres = request.task.get("centres")
    variables = _variables(site.study, request.task["features"], MAX_SCREENED if centres is None else MAX_CANDIDATES)
    cohort, rule = site.view_with(request, list(variables)), rule_of(site.policy)
    rows = cohort.rows("train")
    require_classes(site, cohort, "train")
    told = governed(cohort, rows, variables, rule)
    if centres is None:
        moments = class_moments(variables, told.numeric, cohort.labels, rows).hide_small(rule.minimum)
        counts, totals, squares = (row.ravel().tolist() for row in moments.table)
        return site.reply({"n": len(rows), "counts": counts, "totals": totals, "squares": squares})
    groups = cohort.groups(rows)
    require_more_patients(site.policy, smallest(groups), len(variables))
    sums = products(variables, told.numeric, rows, _centres(centres, len(variables)), rule, groups)
    return site.reply({"n": len(rows), "products": sums.triangle.tolist()})


def _variables(study: Study, names: Any, most: int) -> dict[str, NumericVariable]:
    known = screened_variables(study)
    texts = isinstance(names, list) and all(isinstance(name, str) for name in names)
    if not texts or not 0 < len(names) <= most or len(set(names)) < len(names):
        raise Refusal("malformed-message", f"1 to {most} different features are expected", "check the server's version")
    if unknown := [name for name in names if name not in known]:
        raise Refusal("unknown-feature", f"{len(unknown)} features are unknown here", "install the same version")
    return {name: known[name] for name in names}


def _centres(centres: Any, size: int) -> list[int]:
    if not isinstance(centres, list) or len(centres) != size or not all(_is_step(value) for value in centres):
        raise Refusal("malformed-message", "centres are one whole step a feature", "check the server's version")
    return centres


def _is_step(value: Any) -> bool:
    return type(value) is int and 0 <= value <= STEPS
