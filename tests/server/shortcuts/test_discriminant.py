"""The discriminant of summed embeddings: scikit-learn's on the patients themselves."""

import numpy as np
import pytest
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis

from fedescc.common.shortcut import Projection
from fedescc.server.shortcuts.discriminant import RIDGE, fit_discriminant, project, standardising, towards_means
from fedescc.server.shortcuts.replies import Group, MomentsShare

RNG = np.random.default_rng(8)
MIX = RNG.normal(size=(5, 5))


def patients(place, n, size=5, shift=1.0):
    rng = np.random.default_rng(place)
    return rng.normal(size=(n, size)) @ MIX[:size, :size] + shift * rng.normal(size=size)


def group(rows):
    return Group(len(rows), rows.sum(axis=0), rows.T @ rows)


def moments(rows):
    return MomentsShare(Group(len(rows), rows.sum(axis=0)), (rows**2).sum(axis=0), {})


@pytest.mark.parametrize("classes", [2, 3, 5])
def test_it_assigns_as_scikit_learn_does(classes):
    """With equal classes, whose mean covariance is the pooled one; scikit-learn shrinks alike (solver lsqr)."""
    by_site = {f"site-{place}": patients(place, 40) for place in range(classes)}
    rule = fit_discriminant({name: [group(rows)] for name, rows in by_site.items()})
    X, y = np.concatenate(list(by_site.values())), np.repeat(sorted(by_site), 40)
    centred = np.concatenate([rows - rows.mean(axis=0) for rows in by_site.values()])
    pooled = centred.T @ centred / len(X)
    ridged = (1 - RIDGE) * pooled + RIDGE * np.trace(pooled) / 5 * np.eye(5)
    means = np.stack([by_site[name].mean(axis=0) for name in rule.names])
    assert np.allclose(rule.weights, means @ np.linalg.inv(ridged))
    plain = fit_discriminant({name: [group(rows)] for name, rows in by_site.items()}, ridge=0.0)
    known = LinearDiscriminantAnalysis(solver="lsqr", priors=np.full(classes, 1 / classes)).fit(X, y)
    new = RNG.normal(size=(500, 5)) * 2
    assert [plain.names[place] for place in plain.assign(new)] == known.predict(new).tolist()


def test_a_class_of_several_sites_is_that_of_its_patients_together():
    one, two, other = patients(1, 30), patients(2, 50), patients(3, 40)
    apart = fit_discriminant({"ge": [group(one), group(two)], "canon": [group(other)]})
    together = fit_discriminant({"ge": [group(np.concatenate([one, two]))], "canon": [group(other)]})
    assert apart.names == together.names == ("canon", "ge")
    assert np.allclose(apart.weights, together.weights)
    assert np.allclose(apart.intercepts, together.intercepts)


def test_the_rule_does_not_depend_on_the_order_of_classes():
    made = {name: [group(patients(place, 20))] for place, name in enumerate("abc")}
    one, two = fit_discriminant(made), fit_discriminant(dict(reversed(made.items())))
    assert one.names == two.names
    assert np.array_equal(one.weights, two.weights)


def test_dimensions_without_spread_change_nothing():
    flat = {name: np.c_[patients(place, 20), np.zeros(20)] for place, name in enumerate("ab")}
    standard = standardising(moments(rows) for rows in flat.values())
    assert standard.scale[-1] == 1
    constant = fit_discriminant({name: [Group(5, np.zeros(2), np.zeros((2, 2)))] for name in "ab"})
    assert np.isfinite(constant.weights).all()
    assert (constant.assign(RNG.normal(size=(9, 2))) == 0).all()


def test_dimensions_are_standardised_by_the_mean_and_the_sd_within_sites():
    sites = [patients(place, 30) for place in range(3)]
    found = standardising(map(moments, sites))
    together = np.concatenate(sites)
    within = np.concatenate([rows - rows.mean(axis=0) for rows in sites])
    assert np.allclose(found.centre, together.mean(axis=0))
    assert np.allclose(found.scale, within.std(axis=0))


def test_a_projection_of_sums_is_the_sum_of_projections():
    rows, axes = patients(4, 25), RNG.normal(size=(2, 5))
    projection = Projection(RNG.normal(size=5), RNG.uniform(1, 2, 5), axes)
    columns = projection.apply(rows)
    found = project(Group(25, rows.sum(axis=0)), projection, columns.T @ columns)
    assert np.allclose(found.total, columns.sum(axis=0))
    assert found.n == 25


def test_directions_of_means_hold_every_difference_between_them():
    sites = {name: Group(30, 30 * RNG.normal(size=50)) for name in "abcd"}
    standard = Projection(np.zeros(50), RNG.uniform(1, 2, 50))
    found = towards_means(standard, [sites])
    assert found.axes.shape == (3, 50)
    assert np.allclose(found.axes @ found.axes.T, np.eye(3))
    means = standard.apply(np.stack([one.total / one.n for one in sites.values()]))
    differences = means - means.mean(axis=0)
    assert np.allclose(differences @ found.axes.T @ found.axes, differences)
    alike = {name: Group(3, np.ones(50)) for name in "ab"}
    assert towards_means(standard, [alike]).axes.shape == (1, 50)
