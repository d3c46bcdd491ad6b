"""Federated screening of features: relevance and redundancy from exact sums, equal to the pooled computation."""

from collections.abc import Sequence

import numpy as np

from fedescc.common import wire
from fedescc.common.statistics.relevance import MAX_CANDIDATES, ClassMoments, Products, choose
from fedescc.common.sums import add_up
from fedescc.common.tabular.moments import STEPS, contradictory
from fedescc.common.wire import Reply
from fedescc.server.evaluation.evaluate import Evaluator
from fedescc.server.replies import malformed, whole_numbers
from fedescc.server.training.rounds import require_quorum

_CANDIDATES = 2  # features looked at for each one wanted: products of fewer features can be asked of smaller sites


def screen(evaluator: Evaluator, features: Sequence[str], k: int) -> tuple[str, ...]:
    """Up to k of the features, the most relevant first, none correlated beyond .9 with one taken before.

    Two exchanges over the training patients: moments by class of all features, then products of the most relevant.
    The correlations rest on those sites that may tell products of so many features.

    Args:
        evaluator: reaches the sites; its task names the run and the fold.
        features: to choose from.
        k: how many at most.

    Raises:
        Refusal: fewer sites than the quorum take part in either exchange.

    """
    if not features or k < 1:
        return ()
    moments = _moments(evaluator, list(features))
    relevance = moments.relevance()
    best = [int(i) for i in np.argsort(-relevance, kind="stable") if relevance[i] > 0]
    best = best[: min(MAX_CANDIDATES, _CANDIDATES * k)]
    if not best:
        return ()
    centres = moments.centres()
    correlation = _products(evaluator, [features[i] for i in best], [centres[i] for i in best]).correlation(len(best))
    return tuple(features[best[i]] for i in choose(relevance[best], correlation, k))


def class_moments_share(reply: Reply, features: int) -> ClassMoments:
    """Moments by class out of a reply.

    Raises:
        Refusal: another number of features, or moments that no patients can have.

    """
    table = np.array([whole_numbers(reply.sums, key, 2 * features) for key in ("counts", "totals", "squares")])
    if contradictory(table):
        raise malformed("moments contradict each other")
    return ClassMoments(table.reshape(3, 2, features))


def products_share(reply: Reply, features: int) -> Products:
    """Products out of a reply.

    Raises:
        Refusal: another number of features, or products that no patients can have.

    """
    triangle = whole_numbers(reply.sums, "products", features * (features + 1) // 2)
    matrix = np.zeros((features, features), dtype=object)  # Python integers: squares must not overflow
    matrix[np.triu_indices(features)] = triangle.tolist()
    diagonal, n = np.diag(matrix), reply.sums.get("n")
    squares = matrix * matrix > np.outer(diagonal, diagonal)
    if type(n) is not int or (diagonal < 0).any() or (diagonal > n * STEPS**2).any() or np.triu(squares).any():
        raise malformed("products contradict each other")
    return Products(triangle)


def _moments(evaluator: Evaluator, features: list[str]) -> ClassMoments:
    def read(reply: Reply) -> ClassMoments:
        return class_moments_share(reply, len(features))

    found, attendance = evaluator.ask(wire.SCREENING, read, features=features)
    require_quorum(attendance, evaluator.min_sites, "screening")
    return add_up(found.values())


def _products(evaluator: Evaluator, features: list[str], centres: list[int]) -> Products:
    def read(reply: Reply) -> Products:
        return products_share(reply, len(features))

    found, attendance = evaluator.ask(wire.SCREENING, read, features=features, centres=centres)
    require_quorum(attendance, evaluator.min_sites, "screening")
    return add_up(found.values())
