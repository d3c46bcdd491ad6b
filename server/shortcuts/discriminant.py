"""Linear discriminants of sites or vendors out of summed embeddings; no patient's embedding is needed."""

from collections.abc import Iterable, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from fedescc.common.shortcut import LinearRule, Projection
from fedescc.server.shortcuts.replies import Group, MomentsShare

RIDGE = 0.1  # of the pooled covariance towards a multiple of the identity
_LEAST_SHARE = 1e-12  # of the largest variance: less is rounding

Floats = NDArray[np.float64]


def standardising(shares: Iterable[MomentsShare]) -> Projection:
    """Every dimension by its mean over all patients and its SD within sites; one without spread keeps its scale."""
    found = list(shares)
    n = sum(share.whole.n for share in found)
    centre = np.sum([share.whole.total for share in found], axis=0) / n
    within = np.sum([share.squares - share.whole.total**2 / share.whole.n for share in found], axis=0) / n
    spread = within > _LEAST_SHARE * max(float(within.max()), np.finfo(float).tiny)
    return Projection(centre, np.where(spread, np.sqrt(within.clip(0)), 1.0))


def towards_means(standard: Projection, classes: Sequence[Mapping[str, Group]]) -> Projection:
    """The projection to the directions in which class means differ, one to (number of classes - 1) of each kind.

    For embeddings of more dimensions than patients: these are the discriminant directions where covariances are taken
    for 0 (the independence rule, which then beats the full one; Bickel & Levina, Bernoulli 2004). Principal components
    would need the products of all dimensions, and a direction that tells scanners need not have much variance.

    Args:
        standard: centre and scale of every dimension.
        classes: name -> sums, of each kind of class, such as sites and vendors.

    """
    means = [_means(standard, kind) for kind in classes]
    differences = np.concatenate([kind - kind.mean(axis=0) for kind in means])
    _, strengths, axes = np.linalg.svd(differences, full_matrices=False)
    real = strengths > np.sqrt(_LEAST_SHARE) * max(float(strengths.max()), np.finfo(float).tiny)
    return Projection(standard.centre, standard.scale, axes[real] if real.any() else axes[:1])


def project(group: Group, projection: Projection, products: Floats | None) -> Group:
    """A group's sums in the projection's columns, with the products told of them."""
    mean = projection.apply((group.total / group.n)[None])[0]
    return Group(group.n, group.n * mean, products)


def fit_discriminant(classes: Mapping[str, Sequence[Group]], ridge: float = RIDGE) -> LinearRule:
    """Fisher's linear discriminant with equal priors and a ridged pooled covariance.

    The covariance within classes, S, becomes (1 - ridge) S + ridge trace(S) / k I (regularised discriminant analysis,
    Friedman, JASA 1989;84:165, with his lambda at 1). Equal priors, because the rule is judged by balanced accuracy.

    Args:
        classes: name -> sums of its groups, (k,) and (k, k); groups without products have a say in the mean alone.
        ridge: 0 to 1.

    """
    names = tuple(sorted(classes))
    totals = {name: (sum(one.n for one in classes[name]), _total(classes[name])) for name in names}
    means = np.stack([total / n for n, total in totals.values()])
    covariance = _within(classes, dict(zip(names, means, strict=True)))
    size = len(covariance)
    level = float(np.trace(covariance)) / size or 1.0
    inverse = np.linalg.inv((1 - ridge) * covariance / level + ridge * np.eye(size)) / level
    weights = means @ inverse
    return LinearRule(names, weights, -0.5 * np.sum(weights * means, axis=1))


def _means(standard: Projection, classes: Mapping[str, Group]) -> Floats:
    """Standardised class means, (classes, d)."""
    return standard.apply(np.stack([one.total / one.n for one in classes.values()]))


def _total(groups: Sequence[Group]) -> Floats:
    return np.asarray(np.sum([one.total for one in groups], axis=0))


def _within(classes: Mapping[str, Sequence[Group]], means: Mapping[str, Floats]) -> Floats:
    """Covariance around the class means (k, k), over the groups that tell products."""
    size = len(next(iter(means.values())))
    scatter, n = np.zeros((size, size)), 0
    for name, mean in means.items():
        for one in classes[name]:
            if one.products is not None:
                mixed = np.outer(one.total, mean)
                scatter += one.products - mixed - mixed.T + one.n * np.outer(mean, mean)
                n += one.n
    return scatter / n
