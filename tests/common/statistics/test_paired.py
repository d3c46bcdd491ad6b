"""The paired test by sums over sites against DeLong's components over all pairs, pROC, and the pooled computation."""

import math
from itertools import combinations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from scored_patients import Floats, Labels, code, known, patients

from fedescc.common.statistics.paired import (
    AucCovariance,
    PlacementSums,
    agrees,
    auc_covariance,
    compare,
    placement_sums,
)
from fedescc.common.statistics.roc import (
    ClassHistogram,
    PairedComparison,
    auc,
    histogram_auc,
    histogram_delong_variance,
    paired_delong,
    score_histogram,
)
from fedescc.common.sums import add_up

SIZES = (120, 70, 50, 35, 25)
Site = tuple[Labels, Floats]


def five_sites(seed: int, models: int = 3) -> tuple[list[Site], list[Floats]]:
    """Uneven sites, correlated models of different skill and scale, and each model's own edges."""
    rng = np.random.default_rng(seed)
    sites = []
    for n in SIZES:
        y, shared = patients(rng, n, gap=1.2)
        noise = rng.normal(size=(n, models)) * np.linspace(0.3, 1.5, models)
        sites.append((y, (shared[:, None] + noise) * np.geomspace(0.2, 8, models) + rng.normal() * 0.3))
    everybody = np.concatenate([scores for _, scores in sites])
    shares = np.arange(1, 50) / 50
    return sites, [np.unique(np.quantile(everybody[:, m], shares[m % 2 :: 1 + m % 2])) for m in range(models)]


def own_histograms(site: Site, edges: list[Floats]) -> list[ClassHistogram]:
    y, scores = site
    return [score_histogram(y, column, cuts) for column, cuts in zip(scores.T, edges, strict=True)]


def pool(sites: list[Site], edges: list[Floats]) -> list[ClassHistogram]:
    return [add_up(of_model) for of_model in zip(*(own_histograms(site, edges) for site in sites), strict=True)]


def parts(sites: list[Site], edges: list[Floats]) -> list[PlacementSums]:
    pooled = pool(sites, edges)
    return [placement_sums(y, scores, pooled, edges) for y, scores in sites]


def binned(sites: list[Site], edges: list[Floats]) -> Site:
    """All patients in one place, each score as the number of its bin."""
    y = np.concatenate([labels for labels, _ in sites])
    scores = np.concatenate([table for _, table in sites])
    bins = [np.searchsorted(cuts, column, side="right") for column, cuts in zip(scores.T, edges, strict=True)]
    return y, np.stack(bins, axis=1).astype(np.float64)


def delong_by_pairs(y: Labels, scores: Floats) -> tuple[Floats, Floats]:
    """AUCs and covariance by DeLong 1988, equations 2 to 6: components over all mn pairs, no ranks."""
    x, z = scores[y], scores[~y]
    wins = (x[:, None, :] > z[None, :, :]) + 0.5 * (x[:, None, :] == z[None, :, :])
    v10, v01 = wins.mean(axis=1), wins.mean(axis=0)
    s10, s01 = np.cov(v10, rowvar=False, ddof=1), np.cov(v01, rowvar=False, ddof=1)
    return wins.mean(axis=(0, 1)), np.atleast_2d(s10 / len(x) + s01 / len(z))


def by_pairs(y: Labels, scores: Floats) -> PairedComparison:
    areas, covariance = delong_by_pairs(y, scores)
    contrast = np.array([1.0, -1.0])
    error = math.sqrt(contrast @ covariance @ contrast)
    z = float(areas[0] - areas[1]) / error
    return PairedComparison(float(areas[0] - areas[1]), error, z, math.erfc(abs(z) / math.sqrt(2)))


def close(found: PairedComparison, expected: PairedComparison, tolerance: float = 1e-12) -> bool:
    pairs = zip(vars(found).values(), vars(expected).values(), strict=True)
    return all(abs(a - b) <= tolerance * max(1.0, abs(b)) for a, b in pairs)


PAIRS = list(combinations(("s100b", "ndka", "wfns"), 2))


@pytest.mark.real_data
@pytest.mark.parametrize("pair", PAIRS, ids=map(str, PAIRS))
def test_asah_comparisons_are_those_over_all_pairs(asah: dict[str, Floats], pair: tuple[str, str]) -> None:
    y, scores = asah["poor"].astype(bool), np.stack([asah[name] for name in pair], axis=1)
    assert close(known(paired_delong(y, *scores.T)), by_pairs(y, scores))


@pytest.mark.real_data
def test_asah_by_sums_over_three_hospitals_gives_procs_areas_variances_and_test(asah: dict[str, Floats]) -> None:
    """An edge between any two values seen loses nothing; roc.test(wfns, s100b) prints Z = 2.209, p-value = 0.02718."""
    names = ("s100b", "ndka", "wfns")
    y, scores = asah["poor"].astype(bool), np.stack([asah[name] for name in names], axis=1)
    edges = [(seen[1:] + seen[:-1]) / 2 for seen in map(np.unique, scores.T)]
    rows = np.split(np.arange(y.size), [20, 71])
    total = add_up(parts([(y[part], scores[part]) for part in rows], edges))
    found = known(auc_covariance(total))
    assert found.areas == pytest.approx([0.7313686, 0.6119580, 0.8236789], abs=5e-8)
    variances = [0.00266868245717244, 0.0031908105493913, 0.00146991470882363]
    assert np.diag(found.covariance) == pytest.approx(variances, rel=1e-12)
    areas, covariance = delong_by_pairs(y, scores)
    assert found.areas == pytest.approx(areas, abs=1e-14)
    assert found.covariance == pytest.approx(covariance, abs=1e-16)
    test = known(compare(found, 2, 0))
    assert (test.z, test.p) == (pytest.approx(2.209, abs=5e-4), pytest.approx(0.02718, abs=5e-6))


@pytest.mark.parametrize("seed", range(5))
def test_sums_of_five_uneven_sites_give_the_pooled_paired_test(seed: int) -> None:
    sites, edges = five_sites(seed)
    y, scores = binned(sites, edges)
    covariance = known(auc_covariance(add_up(parts(sites, edges))))
    for i, j in [*combinations(range(3), 2), (2, 0)]:
        found = known(compare(covariance, i, j))
        assert close(found, known(paired_delong(y, scores[:, i], scores[:, j])))
        assert close(found, by_pairs(y, scores[:, [i, j]]))


@pytest.mark.parametrize("seed", range(3))
def test_areas_and_variances_are_those_of_the_histograms(seed: int) -> None:
    sites, edges = five_sites(seed)
    found = known(auc_covariance(add_up(parts(sites, edges))))
    for model, pooled in enumerate(pool(sites, edges)):
        assert found.areas[model] == pytest.approx(known(histogram_auc(pooled)), abs=1e-14)
        assert found.covariance[model, model] == pytest.approx(known(histogram_delong_variance(pooled)), rel=1e-12)


def test_binning_hardly_moves_the_test() -> None:
    """Fifty bins of one model and 25 of the other against exact scores: difference and its SE over twenty studies."""
    errors, ratios = [], []
    for seed in range(20):
        sites, edges = five_sites(100 + seed, models=2)
        found = known(compare(known(auc_covariance(add_up(parts(sites, edges)))), 0, 1))
        y, scores = np.concatenate([y for y, _ in sites]), np.concatenate([s for _, s in sites])
        exact = known(paired_delong(y, *scores.T))
        errors.append(abs(found.difference - exact.difference))
        ratios.append(found.standard_error / exact.standard_error)
    assert np.mean(errors) < 0.0015
    assert np.abs(np.array(ratios) - 1).max() < 0.04


@st.composite
def small_studies(draw: st.DrawFn) -> tuple[list[Site], list[Floats]]:
    """Two to four sites, some of one class or empty, whole scores of two or three models, coarse edges."""
    models = draw(st.integers(2, 3))
    row = st.tuples(st.booleans(), *[st.integers(-4, 4)] * models)
    tables = [[(True, *[1] * models), (False, *[0] * models)] * 2, *draw(st.lists(st.lists(row), max_size=3))]
    sites = []
    for table in tables:
        columns = np.array(table, dtype=np.float64).reshape(-1, models + 1)
        sites.append((columns[:, 0].astype(bool), columns[:, 1:]))
    return sites, [np.array([-2.5, 0.5, 2.5]), np.arange(-3.5, 4), np.array([0.0])][:models]


@given(small_studies())
def test_any_division_gives_the_pooled_covariance(study: tuple[list[Site], list[Floats]]) -> None:
    sites, edges = study
    found = known(auc_covariance(add_up(parts(sites, edges))))
    areas, covariance = delong_by_pairs(*binned(sites, edges))
    assert found.areas == pytest.approx(areas, abs=1e-14)
    assert found.covariance == pytest.approx(covariance, abs=1e-14)


@given(small_studies())
def test_covariance_is_symmetric_and_positive_semidefinite(study: tuple[list[Site], list[Floats]]) -> None:
    found = known(auc_covariance(add_up(parts(*study)))).covariance
    assert (found == found.T).all()
    assert np.linalg.eigvalsh(found).min() >= -1e-15


@given(small_studies(), st.randoms(use_true_random=False))
def test_order_and_merging_of_sites_change_no_bit(study: tuple[list[Site], list[Floats]], random) -> None:
    sites, edges = study
    pooled = pool(sites, edges)
    total = add_up(parts(sites, edges))
    order = list(sites)
    random.shuffle(order)
    joined = (np.concatenate([y for y, _ in order]), np.concatenate([s for _, s in order]))
    for other in (add_up(parts(order, edges)), placement_sums(*joined, pooled, edges)):
        for name in ("n", "sums", "products"):
            assert getattr(other, name).tolist() == getattr(total, name).tolist()


@given(small_studies())
def test_comparison_backwards_changes_sign_alone(study: tuple[list[Site], list[Floats]]) -> None:
    covariance = known(auc_covariance(add_up(parts(*study))))
    there, back = compare(covariance, 0, 1), compare(covariance, 1, 0)
    assert there.reason == back.reason
    if there.value is not None and back.value is not None:
        assert (back.value.difference, back.value.z) == (-there.value.difference, -there.value.z)
        assert (back.value.standard_error, back.value.p) == (there.value.standard_error, there.value.p)
        assert 0 <= there.value.p <= 1


@given(small_studies())
def test_a_model_does_not_differ_from_itself(study: tuple[list[Site], list[Floats]]) -> None:
    sites, edges = study
    doubled = [(y, np.column_stack([s[:, :1], 2 * s[:, :1]])) for y, s in sites]
    covariance = known(auc_covariance(add_up(parts(doubled, [edges[0], 2 * edges[0]]))))
    assert compare(covariance, 0, 1).reason == "zero-variance"
    assert compare(covariance, 0, 0).reason == "zero-variance"


def test_placements_by_hand() -> None:
    """Bins below and above 0. Pooled: negatives 3 and 1, positives 1 and 2; the site has one of each above."""
    pooled = [ClassHistogram(np.array([3, 1]), np.array([1, 2]))]
    found = placement_sums([0, 1], [[5.0], [5.0]], pooled, [[0.0]])
    assert found.n.tolist() == [1, 1]
    # The negative shares its bin with 2 positives and none is above; the positive beats 3 and shares with 1.
    assert found.sums.tolist() == [[2], [7]]
    assert found.products.tolist() == [[4], [49]]


def test_what_leaves_does_not_grow_with_the_patients() -> None:
    sites, edges = five_sites(0)
    for part in parts(sites, edges):
        assert (part.n.size, part.sums.size, part.products.size) == (2, 6, 12)
        assert {array.dtype for array in (part.n, part.sums, part.products)} == {np.dtype(np.int64)}


def test_sums_are_checked_against_the_histograms_a_site_released() -> None:
    sites, edges = five_sites(1)
    pooled, sums = pool(sites, edges), parts(sites, edges)
    owns = [own_histograms(site, edges) for site in sites]
    assert all(agrees(part, own, pooled) for part, own in zip(sums, owns, strict=True))
    assert agrees(add_up(sums), pooled, pooled)
    assert not agrees(sums[0], owns[1], pooled)
    assert not agrees(add_up(sums[1:]), pooled, pooled)
    assert not agrees(sums[0], owns[0], owns[0])
    assert not agrees(sums[0], owns[0][:2], pooled)


@pytest.mark.parametrize("name", ["n", "sums", "products"])
@pytest.mark.parametrize("label", [0, 1])
def test_one_changed_number_is_found_out(name: str, label: int) -> None:
    """A square by one; a product of two models only where it is impossible, for nothing else tells it."""
    sites, edges = five_sites(2)
    pooled, part = pool(sites, edges), parts(sites, edges)[0]
    arrays: dict[str, NDArray[np.int64]] = {key: value.copy() for key, value in vars(part).items()}
    place = label if name == "n" else (label, 0)
    arrays[name][place] += 1
    assert not agrees(PlacementSums(**arrays), own_histograms(sites[0], edges), pooled)
    impossible = {key: value.copy() for key, value in vars(part).items()}
    impossible["products"][label, 1] *= 3
    assert not agrees(PlacementSums(**impossible), own_histograms(sites[0], edges), pooled)


@pytest.mark.parametrize(
    ("y", "reason"),
    [([], "no-patients"), ([1, 1, 1], "one-class"), ([0, 0], "one-class"), ([1, 0, 0], "fewer-than-two-per-class")],
)
def test_too_few_patients_give_a_reason(y: list[int], reason: str) -> None:
    scores = np.arange(2.0 * len(y)).reshape(-1, 2)
    edges = [np.array([1.0]), np.array([2.0])]
    pooled = pool([(np.array(y, dtype=bool), scores)], edges)
    assert auc_covariance(placement_sums(y, scores, pooled, edges)).reason == reason


def test_a_missing_site_leaves_a_reason_and_no_number() -> None:
    """The placements are among all pooled patients, so that a total without a site means nothing."""
    sites, edges = five_sites(3)
    assert auc_covariance(add_up(parts(sites, edges)[1:])).reason == "contributors-changed"


def test_more_wins_than_pairs_are_no_area() -> None:
    total = PlacementSums(np.array([2, 3]), np.array([[13], [13]]), np.array([[100], [100]]))
    assert auc_covariance(total).reason == "contributors-changed"


def test_an_impossible_covariance_gives_a_reason() -> None:
    lying = AucCovariance(np.array([0.7, 0.6]), np.array([[0.001, 0.5], [0.5, 0.001]]))
    assert compare(lying, 0, 1).reason == "impossible-covariance"


@pytest.mark.parametrize(
    ("n", "sums", "products"),
    [
        ([1, 1], [[1, 2], [3, 4]], [[1, 2], [3, 4]]),
        ([1, 1, 1], [[1], [2]], [[1], [2]]),
        ([1, 1], [1, 2], [[1], [2]]),
        ([1, 1], [[], []], [[], []]),
        ([1, 1], np.zeros((2, 0), np.int64), np.zeros((2, 0), np.int64)),
        ([1, -1], [[1], [2]], [[1], [2]]),
        ([1, 1], [[1], [-2]], [[1], [2]]),
        ([1, 1], [[1.0], [2.0]], [[1], [2]]),
        ([1, 1], [[1], [2]], [[math.nan], [2]]),
        ([1, 1], [[1], [2]], [[2**62 + 1], [2]]),
        ([1, 1], [[1], [2]], np.array([[2**64 - 1], [2]], np.uint64)),
        ([True, True], [[1], [2]], [[1], [2]]),
    ],
)
def test_malformed_sums_are_refused(n, sums, products) -> None:
    assert code(lambda: PlacementSums(n, sums, products)) == "bad-placement-sums"


def test_sums_that_overflow_or_speak_of_other_models_cannot_be_added() -> None:
    large = PlacementSums(np.array([1, 1]), np.array([[1], [1]]), np.array([[2**62], [0]]))
    two = PlacementSums(np.array([1, 1]), np.ones((2, 2), np.int64), np.ones((2, 3), np.int64))
    assert code(lambda: large + large) == "bad-placement-sums"
    assert code(lambda: large + two) == "bad-placement-sums"


def test_a_server_that_sends_no_pool_gets_nothing() -> None:
    """Histograms made up by a coordinator would turn the sums into a query about single patients."""
    sites, edges = five_sites(4, models=2)
    pooled, (y, scores) = pool(sites, edges), sites[0]
    other = pool(sites[1:], edges)
    empty = [ClassHistogram(0 * h.negatives, 0 * h.positives) for h in pooled]
    assert code(lambda: placement_sums(y, scores, empty, edges)) == "not-the-pool"
    assert code(lambda: placement_sums(y, scores, [pooled[0], other[1]], edges)) == "not-the-pool"
    taken = int(np.flatnonzero(score_histogram(y, scores[:, 0], edges[0]).negatives)[0])
    moved = pooled[0].negatives.copy()
    moved[taken], moved[taken - 1] = 0, moved[taken - 1] + moved[taken]
    assert code(lambda: placement_sums(y, scores, [ClassHistogram(moved, pooled[0].positives), pooled[1]], edges)) == (
        "not-the-pool"
    )


def test_shapes_and_scores_are_checked() -> None:
    pooled = [ClassHistogram(np.array([3, 1]), np.array([1, 2]))] * 2
    edges = [[0.0], [0.0]]
    good = [[1.0, -1.0], [2.0, 1.0]]
    refused = {
        "length-mismatch": [
            lambda: placement_sums([0, 1], [1.0, 2.0], pooled, edges),
            lambda: placement_sums([0, 1, 1], good, pooled, edges),
            lambda: placement_sums([0, 1], good, pooled[:1], edges),
            lambda: placement_sums([0, 1], good, pooled, edges[:1]),
            lambda: placement_sums([0, 1], np.zeros((2, 0)), [], []),
        ],
        "labels-not-binary": [lambda: placement_sums([0, 2], good, pooled, edges)],
        "scores-not-finite": [lambda: placement_sums([0, 1], [[1.0, math.nan], [2.0, 1.0]], pooled, edges)],
        "bad-histogram": [lambda: placement_sums([0, 1], good, pooled, [[0.0], [0.0, 1.0]])],
        "bad-edges": [lambda: placement_sums([0, 1], good, pooled, [[0.0], [math.inf]])],
        "sum-too-large": [
            lambda: placement_sums(
                [0, 1], good, [ClassHistogram(h.negatives * 2**20, h.positives) for h in pooled], edges
            )
        ],
    }
    for expected, attempts in refused.items():
        assert [code(attempt) for attempt in attempts] == [expected] * len(attempts)


def test_the_largest_sum_fits() -> None:
    """A million patients a class, at the top of every placement: 4 · 10^18 of 4.6 · 10^18."""
    half = 2**19
    pooled = [ClassHistogram(np.array([2 * half, 0]), np.array([0, 2 * half]))]
    y = np.repeat([0, 1], half)
    found = placement_sums(y, np.where(y, 5.0, -5.0)[:, None], pooled, [[0.0]])
    total = found + found
    assert total.products.tolist() == [[(4 * half) ** 2 * 2 * half]] * 2
    assert agrees(total, pooled, pooled)
    assert known(auc_covariance(total)).areas.tolist() == [1.0]


def test_federated_test_holds_its_level() -> None:
    """Two equally good models at three sites: about 5 % of p-values fall under .05 (SE .013 at 300 repeats)."""
    rng, rejected = np.random.default_rng(7), 0
    edges = [np.linspace(-3, 3, 25)] * 2
    for _ in range(300):
        sites = []
        for n in (70, 50, 40):
            y, shared = patients(rng, n, gap=1.0)
            sites.append((y, shared[:, None] + 0.8 * rng.normal(size=(n, 2))))
        rejected += known(compare(known(auc_covariance(add_up(parts(sites, edges)))), 0, 1)).p < 0.05
    assert 0.02 <= rejected / 300 <= 0.09


def test_area_of_one_model_alone_is_its_auc() -> None:
    sites, edges = five_sites(6, models=1)
    y, scores = binned(sites, edges)
    assert known(auc_covariance(add_up(parts(sites, edges)))).areas == pytest.approx([known(auc(y, scores[:, 0]))])
