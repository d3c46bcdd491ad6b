"""The distribution of a region's intensities, against numpy, and what moves it and what does not."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from fedescc.common.network.distribution import LEVELS, STATISTICS, blood_pool, distribution

SHAPE = (1, 1, 6, 6, 6)
ALL, WITHIN, MEDIAN, SPREAD, SD, SOFT_WITHIN, VOLUME = 0, 7, 8, 9, 15, 16, 17


def cells(seed: int = 0, low: float = 0.4, high: float = 0.7) -> tuple[torch.Tensor, torch.Tensor]:
    rng = np.random.default_rng(seed)
    mean, deviation = rng.uniform(low, high, SHAPE), rng.uniform(0.01, 0.1, SHAPE)
    return torch.tensor(mean, dtype=torch.float32), torch.tensor(deviation, dtype=torch.float32)


def everywhere() -> torch.Tensor:
    return torch.ones(SHAPE)


def test_the_quantiles_are_numpys_of_the_cells_in_the_region() -> None:
    mean, deviation = cells()
    share = everywhere()
    share[..., 3:] = share[0, 0, 0, 0, 0] = 0  # 107 cells: no level falls between two of them
    found = distribution(mean, deviation, share)[0, ALL : len(LEVELS)].numpy() / 4 + 0.35
    inside = mean[share > 0].numpy()
    assert found == pytest.approx(np.quantile(inside, LEVELS, method="inverted_cdf"), abs=1e-6)


def test_a_cells_share_is_its_weight() -> None:
    mean, deviation = cells()
    share = everywhere()
    share[0, 0, 0] = 0.5
    share[0, 0, 1, 0, 0] = 0
    found = distribution(mean, deviation, share)[0, :7].numpy() / 4 + 0.35
    whole = mean[0, 0, 1:].numpy().ravel()[1:]
    twice = np.concatenate([mean[0, 0, 0].numpy().ravel(), whole, whole])  # whole cells count double
    assert found == pytest.approx(np.quantile(twice, LEVELS, method="inverted_cdf"), abs=1e-6)


def test_moments_of_soft_tissue_are_numpys() -> None:
    mean, deviation = cells(low=0.5)  # far above the gate: all of it is soft tissue
    found = distribution(mean, deviation, everywhere())[0]
    assert float(found[SD]) == pytest.approx((float(mean.std(correction=0)) - 0.08) * 15, abs=2e-3)
    assert float(found[SOFT_WITHIN]) == pytest.approx((float(deviation.mean()) - 0.05) * 20, abs=2e-3)
    assert float(found[WITHIN]) == pytest.approx(float(found[SOFT_WITHIN]), abs=2e-3)
    assert float(found[VOLUME]) == pytest.approx(np.log(216 + 5) - 5.5, abs=2e-3)


def test_fat_and_air_do_not_belong_to_soft_tissue() -> None:
    mean, deviation = cells(low=0.5)
    mixed, share = mean.clone(), everywhere()
    mixed[:, :, :2] = 0.1  # fat
    tissue = everywhere()
    tissue[:, :, :2] = 0
    found, alone = distribution(mixed, deviation, share), distribution(mixed, deviation, tissue)
    assert found[0, MEDIAN:].numpy() == pytest.approx(alone[0, MEDIAN:].numpy(), abs=0.02)
    assert not torch.allclose(found[0, :7], alone[0, :7], atol=0.1)


@settings(max_examples=30, deadline=None)
@given(st.floats(-0.05, 0.05), st.integers(0, 100))
def test_an_offset_of_all_intensities_moves_quantiles_and_not_their_distances(offset: float, seed: int) -> None:
    mean, deviation = cells(seed, low=0.5, high=0.7)
    before, after = (distribution(mean + shift, deviation, everywhere())[0] for shift in (0.0, offset))
    assert (after - before)[:7].numpy() == pytest.approx(np.full(7, 4 * offset), abs=1e-4)
    assert (after - before)[SPREAD:SD].numpy() == pytest.approx(np.zeros(6), abs=2e-2)
    assert float((after - before)[MEDIAN]) == pytest.approx(6 * offset, abs=1e-2)


@settings(max_examples=20, deadline=None)
@given(st.sampled_from([(2,), (3,), (4,), (2, 4)]), st.integers(0, 100))
def test_mirrored_scans_are_described_alike(axes: tuple[int, ...], seed: int) -> None:
    mean, deviation = cells(seed, low=0.0, high=1.0)
    share = torch.rand(SHAPE, generator=torch.Generator().manual_seed(seed))
    one = distribution(mean, deviation, share)
    other = distribution(*(part.flip(axes) for part in (mean, deviation, share)))
    assert one.numpy() == pytest.approx(other.numpy(), abs=1e-4)


def test_scans_of_a_batch_do_not_mix() -> None:
    parts = [torch.cat([cells(seed)[k] for seed in range(3)]) for k in (0, 1)]
    share = everywhere().expand(3, -1, -1, -1, -1)
    together = distribution(*parts, share)
    assert together.shape == (3, STATISTICS)
    for scan in range(3):
        alone = distribution(*(part[scan : scan + 1] for part in (*parts, share)))
        assert together[scan].numpy() == pytest.approx(alone[0].numpy(), abs=1e-5)


@pytest.mark.parametrize("value", [0.0, 0.3, 1.0])
def test_an_empty_region_or_a_flat_scan_gives_finite_numbers(value: float) -> None:
    mean, nothing = torch.full(SHAPE, value), torch.zeros(SHAPE)
    for share in (nothing, everywhere()):
        assert torch.isfinite(distribution(mean, nothing, share)).all()
        assert torch.isfinite(blood_pool(mean, share)).all()


def test_an_empty_region_is_described_by_the_whole_scan() -> None:
    mean, deviation = cells()
    empty, whole = (distribution(mean, deviation, share)[0, :VOLUME] for share in (torch.zeros(SHAPE), everywhere()))
    assert empty.numpy() == pytest.approx(whole.numpy(), abs=1e-3)


def test_the_blood_pool_is_the_level_of_bright_cells_outside_the_region() -> None:
    mean, _ = cells(low=0.0, high=0.4)
    share = torch.zeros(SHAPE)
    mean[0, 0, 0, 0], mean[0, 0, 1, 0], mean[0, 0, 2, 0] = 0.8, 0.9, 0.99  # blood, blood in the ROI, bone
    share[0, 0, 1, 0] = 1
    assert float(blood_pool(mean, share)) == pytest.approx((0.8 - 0.68) * 6, abs=1e-4)


def test_per_sample_gradients_can_pass() -> None:
    mean, deviation = cells()
    weight = torch.ones(STATISTICS)

    def score(weights: torch.Tensor, one: torch.Tensor, two: torch.Tensor) -> torch.Tensor:
        return (distribution(one[None], two[None], torch.ones_like(one)[None]) @ weights).sum()

    batch = (mean.expand(2, -1, -1, -1, -1), deviation.expand(2, -1, -1, -1, -1))
    gradients = torch.func.vmap(torch.func.grad(score), in_dims=(None, 0, 0))(weight, *batch)
    expected = distribution(mean, deviation, everywhere())[0]
    assert gradients.numpy() == pytest.approx(expected.expand(2, -1).numpy(), abs=1e-5)
