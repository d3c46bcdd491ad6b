"""Pretraining learns from scans alone: no label, no test patient, and the same bits every time."""

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
import torch

from fedescc.client.cohort import SiteCohort
from fedescc.client.learning.dataset import SiteTensors
from fedescc.client.learning.pretrain import FILL, Scans, hide, pretrain_round
from fedescc.common.arrays import flatten_parameters, load_parameters
from fedescc.common.errors import Refusal
from fedescc.common.federation import Federation
from fedescc.common.network.pretext import build_pretext
from fedescc.common.study import Study
from fedescc.common.tabular.covariates import Encoding
from fedescc.common.tabular.harmonisation import Harmonisation

MakeCohort = Callable[..., SiteCohort]
NOTHING = Encoding(covariates=())


def settings(rounds: int = 4, **training: object) -> Federation:
    planned = {"rounds": rounds, "learning_rate": 1e-2, "local_epochs": 2}
    return Federation.model_validate({"pretraining": planned, "training": {"batch_size": 4, **training}})


@pytest.fixture
def scans(make_cohort: MakeCohort) -> Scans:
    return Scans.from_cohort(varied(make_cohort(12)), NOTHING)


def varied(cohort: SiteCohort, seed: int = 0) -> SiteCohort:
    """The blobs with random sizes and brightness, so that there is something to tell apart."""
    rng = np.random.default_rng(seed)
    assert cohort.images is not None
    images, rois = np.full(cohort.images.shape, 0.3), np.zeros(cohort.images.shape, np.uint8)
    for patient in np.ndindex(images.shape[:2]):
        half = rng.integers(2, 6, 3)
        rois[patient][tuple(slice(8 - h, 8 + h) for h in half)] = 1
        images[patient] += rng.uniform(0, 0.4) * rois[patient] + rng.uniform(0.01, 0.1) * rng.normal(size=(16,) * 3)
    return replace(cohort, images=images.clip(0, 1).astype(np.float16), rois=rois)


def train(study: Study, scans: Scans, federation: Federation, rounds: int, site: str = "a") -> list[float]:
    assert study.imaging is not None
    model = build_pretext(study, 0)
    return [
        pretrain_round(model, scans, study.imaging.grid, federation, round=number, site=site).loss
        for number in range(1, rounds + 1)
    ]


def delta(study: Study, scans: Scans, federation: Federation, number: int = 1, site: str = "a") -> np.ndarray:
    assert study.imaging is not None
    return pretrain_round(build_pretext(study, 0), scans, study.imaging.grid, federation, round=number, site=site).delta


def test_the_loss_falls_from_round_to_round(imaging_study: Study, scans: Scans) -> None:
    losses = train(imaging_study, scans, settings(), 4)
    assert losses[-1] < 0.7 * losses[0]


def test_what_it_says_is_what_it_did(imaging_study: Study, scans: Scans) -> None:
    assert imaging_study.imaging is not None
    model = build_pretext(imaging_study, 0)
    before = flatten_parameters(model)
    result = pretrain_round(model, scans, imaging_study.imaging.grid, settings(), round=1, site="a")
    assert np.array_equal(result.delta, flatten_parameters(model) - before)
    assert (result.n, result.updates) == (6, 6)  # half of 12 patients train; 12 scans in fours, twice
    assert np.abs(result.delta).min() < np.abs(result.delta).max()


def test_neither_labels_nor_test_patients_nor_covariates_are_touched(
    imaging_study: Study, make_cohort: MakeCohort
) -> None:
    clean = varied(make_cohort(12))
    assert clean.images is not None
    assert clean.rois is not None
    images, rois = clean.images.copy(), clean.rois.copy()
    test = clean.rows("test")
    images[test], rois[test] = np.nan, 255
    poisoned = replace(
        clean,
        images=images,
        rois=rois,
        labels=np.full(12, np.nan),
        numeric={"age": np.full(12, np.nan)},
        categorical={"sex": np.full(12, 99, np.int16)},
    )
    results = [delta(imaging_study, Scans.from_cohort(cohort, NOTHING), settings()) for cohort in (clean, poisoned)]
    assert np.isfinite(results[1]).all()
    assert np.array_equal(*results)


def test_validation_patients_scans_are_used_too(make_cohort: MakeCohort) -> None:
    cohort = make_cohort(8)
    cohort = replace(cohort, split=np.array(["train", "test", "validation", "unused"] * 2))
    assert Scans.from_cohort(cohort, NOTHING).tensors.rows.tolist() == [0, 2, 4, 6]


def test_a_missing_scan_and_one_without_roi_are_left_out(make_cohort: MakeCohort) -> None:
    cohort = make_cohort(8)
    assert cohort.images is not None
    assert cohort.rois is not None
    cohort.images[0, 1], cohort.rois[2] = 0, 0
    scans = Scans.from_cohort(cohort, NOTHING)
    assert scans.tensors.rows.tolist() == [0, 2, 4, 6]
    assert scans.where.tolist() == [[0, 0], [2, 0], [2, 1], [3, 0], [3, 1]]
    assert (len(scans), scans.patients) == (5, 3)
    images, rois = scans.take(np.array([2, 0]))
    assert torch.equal(images, torch.from_numpy(cohort.images[[4, 0], [1, 0]]).float())
    assert torch.equal(rois, torch.from_numpy(cohort.rois[[4, 0], [1, 0]]).float())


def test_scans_are_harmonised_like_those_of_training(make_cohort: MakeCohort) -> None:
    cohort, reference = make_cohort(6), Harmonisation(window_hu=(-160, 340), fat=0.1, bright=0.7)
    assert cohort.images is not None
    cohort.images[..., :2], cohort.images[..., -2:] = 0.15, 0.62  # -85 and 150 HU: fat and contrast medium
    encoding = Encoding(covariates=(), harmonisation=reference)
    places = np.arange(6)
    scans = Scans.from_cohort(cohort, encoding)
    expected = SiteTensors.from_cohort(cohort, encoding, cohort.rows("train")).batch(places[:3]).images.flatten(0, 1)
    assert torch.equal(scans.take(places)[0], expected)
    assert not torch.equal(Scans.from_cohort(cohort, NOTHING).take(places)[0], expected)


def test_the_same_request_gives_the_same_bits_and_leaves_torchs_state(imaging_study: Study, scans: Scans) -> None:
    state = torch.get_rng_state()
    first = delta(imaging_study, scans, settings())
    assert torch.equal(torch.get_rng_state(), state)
    torch.manual_seed(7)
    assert np.array_equal(delta(imaging_study, scans, settings()), first)


@pytest.mark.parametrize(("number", "site"), [(2, "a"), (1, "b")])
def test_another_round_or_site_draws_other_views(imaging_study: Study, scans: Scans, number: int, site: str) -> None:
    first = delta(imaging_study, scans, settings(rounds=1000))
    assert not np.array_equal(delta(imaging_study, scans, settings(rounds=1000), number, site), first)


def test_gathering_gradients_in_pieces_gives_the_same_update(imaging_study: Study, scans: Scans) -> None:
    whole = delta(imaging_study, scans, settings(batch_size=6, optimizer="sgd"))
    pieces = delta(imaging_study, scans, settings(batch_size=6, optimizer="sgd", micro_batch=2))
    assert np.abs(whole - pieces).max() < 0.02 * np.abs(whole).max()


def test_a_single_scan_is_never_alone_in_a_batch(imaging_study: Study, scans: Scans) -> None:
    assert imaging_study.imaging is not None
    model, seen = build_pretext(imaging_study, 0), []
    model.encoder.register_forward_pre_hook(lambda _, inputs: seen.append(len(inputs[0])))
    lone = replace(scans, where=scans.where[:1])
    result = pretrain_round(model, lone, imaging_study.imaging.grid, settings(), round=1, site="a")
    assert set(seen) == {2}
    assert (result.n, result.updates) == (1, 2)


def test_a_monai_encoder_is_pretrained_too(imaging_study: Study, scans: Scans) -> None:
    model = imaging_study.model.model_copy(update={"encoder": "resnet10", "rim_mm": 6.0})
    few = replace(scans, where=scans.where[:4])
    changed = delta(imaging_study.model_copy(update={"model": model}), few, settings())
    assert np.isfinite(changed).all()
    assert (changed != 0).mean() > 0.99


def test_blocks_are_hidden_and_nothing_else() -> None:
    images = torch.rand(200, 16, 12, 20, generator=torch.Generator().manual_seed(0)) + 1
    hidden = hide(images, np.random.default_rng(0))
    changed = hidden != images
    assert set(hidden[changed].tolist()) == {float(torch.tensor(FILL))}
    shares = changed.float().mean(dim=(1, 2, 3))
    assert shares.min() >= 1 / 64  # one block at least, of a quarter along each axis
    assert shares.max() <= 3 / 8
    assert float(shares.mean()) == pytest.approx(1 / 7, abs=0.02)
    assert len(shares.unique()) > 100
    often = changed.float().mean(dim=0)
    assert float(often[0, 0, 0]) < float(often[-1, 6, 10]) < float(often[8, 6, 10]) < 0.5
    assert float(often[4:12, 3:9, 5:15].min()) > 0.1


def test_no_scan_at_all_is_refused(imaging_study: Study, scans: Scans) -> None:
    nothing = replace(scans, where=scans.where[:0])
    with pytest.raises(Refusal, match="no-training-patients"):
        train(imaging_study, nothing, settings(), 1)
    assert nothing.patients == 0


def test_a_cohort_without_images_is_refused(make_cohort: MakeCohort) -> None:
    with pytest.raises(Refusal, match="pretraining-without-images"):
        Scans.from_cohort(make_cohort(4, 0, 0), NOTHING)


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_an_image_that_is_not_finite_is_refused(make_cohort: MakeCohort, bad: float) -> None:
    cohort = make_cohort(4)
    assert cohort.images is not None
    cohort.images[0, 0, 15, 15, 15] = bad
    with pytest.raises(Refusal, match="image-not-finite"):
        Scans.from_cohort(cohort, NOTHING)


def test_weights_that_run_away_are_refused(imaging_study: Study, scans: Scans) -> None:
    assert imaging_study.imaging is not None
    model = build_pretext(imaging_study, 0)
    load_parameters(model, np.full(len(flatten_parameters(model)), 1e30, np.float32))
    with pytest.raises(Refusal, match="training-diverged"):
        pretrain_round(model, scans, imaging_study.imaging.grid, settings(), round=1, site="a")
