"""Shapley values are exact: they add up, ignore what the model ignores, and equal a brute-force sum."""

from collections.abc import Callable
from itertools import combinations
from math import factorial

import numpy as np
import pytest
import torch
from scipy.ndimage import distance_transform_edt
from torch import nn

from fedescc.client.cohort import SiteCohort
from fedescc.client.learning.dataset import SiteTensors
from fedescc.client.learning.explain import BASELINE_HU, RIM_MM, explain
from fedescc.client.learning.predict import predict_logits
from fedescc.common.network.model import build_model
from fedescc.common.study import Analysis, Study
from fedescc.common.tabular.covariates import Encoding

MakeTensors = Callable[..., SiteTensors]
MakeEncoding = Callable[[Study, SiteCohort], Encoding]
MakeCohort = Callable[..., SiteCohort]
PLAYERS = ("pre_tumour", "pre_rim", "pre_rest", "post_tumour", "post_rim", "post_rest", "age", "sex")


@pytest.fixture
def encoding(imaging_study: Study, make_cohort: MakeCohort, make_encoding: MakeEncoding) -> Encoding:
    return make_encoding(imaging_study, make_cohort(5))


def test_values_add_up_to_the_logit(imaging_study: Study, make_tensors: MakeTensors, encoding: Encoding) -> None:
    model, tensors = build_model(imaging_study, 5, 1), make_tensors(imaging_study, 5)
    result = explain(model, tensors, imaging_study, encoding)
    assert result.players == PLAYERS
    assert result.phi.shape == (5, 8)
    assert result.logits == pytest.approx(predict_logits(model, tensors), abs=1e-5)
    assert result.base + result.phi.sum(axis=1) == pytest.approx(predict_logits(model, tensors), abs=1e-5)
    assert np.abs(result.phi).min(axis=0).max() > 0


@pytest.mark.parametrize("rim_mm", [0.0, 3.0], ids=["without-rim", "rim-of-the-model"])
def test_values_equal_a_sum_over_all_subsets_of_edited_patients(
    imaging_study: Study, make_tensors: MakeTensors, encoding: Encoding, rim_mm: float
) -> None:
    settings = imaging_study.model.model_copy(update={"rim_mm": rim_mm})
    study = imaging_study.model_copy(update={"model": settings})
    model, tensors = build_model(study, 5, 1).eval(), make_tensors(study, 2)
    phi = explain(model, tensors, study, encoding).phi
    worth = _edited_logits(model, tensors, rim_mm or RIM_MM)
    for player in range(8):
        others = [other for other in range(8) if other != player]
        expected = sum(
            factorial(size) * factorial(7 - size) / factorial(8)
            * (worth[frozenset({*subset, player})] - worth[frozenset(subset)])
            for size in range(8) for subset in combinations(others, size)
        )  # fmt: skip
        assert phi[:, player] == pytest.approx(expected, abs=1e-4)


def test_what_the_model_ignores_has_value_zero(
    imaging_study: Study, make_tensors: MakeTensors, encoding: Encoding
) -> None:
    model = build_model(imaging_study, 5, 1)
    with torch.no_grad():
        model.fusion[0].weight[:, -5:-3] = 0  # the columns of age
    result = explain(model, make_tensors(imaging_study, 3), imaging_study, encoding)
    assert np.abs(result.phi[:, PLAYERS.index("age")]).max() < 1e-6
    assert np.abs(result.phi[:, PLAYERS.index("sex")]).max() > 1e-4


def test_regions_of_a_missing_scan_have_value_zero_and_are_marked(
    imaging_study: Study, make_cohort: MakeCohort, make_encoding: MakeEncoding
) -> None:
    cohort = make_cohort(3)
    assert cohort.images is not None
    cohort.images[1, 1] = 0
    encoding = make_encoding(imaging_study, cohort)
    tensors = SiteTensors.from_cohort(cohort, encoding, np.arange(3))
    result = explain(build_model(imaging_study, 5, 1), tensors, imaging_study, encoding)
    assert result.present.tolist() == [[True] * 8, [True] * 3 + [False] * 3 + [True] * 2, [True] * 8]
    assert np.abs(result.phi[~result.present]).max() < 1e-6


def test_declared_groups_are_the_clinical_players(
    imaging_study: Study, make_tensors: MakeTensors, make_cohort: MakeCohort, make_encoding: MakeEncoding
) -> None:
    grouped = imaging_study.model_copy(update={"analysis": Analysis(explanation_groups={"person": ("age", "sex")})})
    encoding = make_encoding(grouped, make_cohort(3))
    model = build_model(grouped, 5, 1)
    result = explain(model, make_tensors(grouped, 3), grouped, encoding)
    assert result.players == (*PLAYERS[:6], "person")


def test_logistic_regression_has_linear_values(
    clinical_study: Study, make_tensors: MakeTensors, make_cohort: MakeCohort, make_encoding: MakeEncoding
) -> None:
    encoding = make_encoding(clinical_study, make_cohort(6, 0, 0))
    model, tensors = build_model(clinical_study, 5, 0), make_tensors(clinical_study, 6)
    weights = np.array([0.5, -1, 2, 0.3, 1], np.float32)
    with torch.no_grad():
        model.linear.weight.copy_(torch.from_numpy(weights)[None])
        model.linear.bias.fill_(0.25)
    result = explain(model, tensors, clinical_study, encoding)
    parts = tensors.clinical.numpy() * weights
    assert result.players == ("age", "sex")
    assert result.phi[:, 0] == pytest.approx(parts[:, :2].sum(axis=1), abs=1e-6)
    assert result.phi[:, 1] == pytest.approx(parts[:, 2:].sum(axis=1), abs=1e-6)
    assert result.base == pytest.approx(0.25)


def _edited_logits(model: nn.Module, tensors: SiteTensors, rim_mm: float) -> dict[frozenset[int], np.ndarray]:
    """Logits of patients edited voxel by voxel, (patients,) a coalition."""
    batch = tensors.batch(np.arange(len(tensors)))
    fill = (BASELINE_HU + 160) / 500
    roi = batch.rois.numpy() > 0
    near = np.array(
        [[distance_transform_edt(~scan, sampling=(3, 3, 3)) <= rim_mm for scan in patient] for patient in roi]
    )
    regions = (roi, near & ~roi, ~near)
    subsets = [frozenset(subset) for size in range(9) for subset in combinations(range(8), size)]
    edited = []
    for subset in subsets:
        images, rois, clinical = batch.images.clone(), batch.rois.clone(), batch.clinical.clone()
        for player in set(range(6)) - subset:
            scan, region = divmod(player, 3)
            images[:, scan][torch.from_numpy(regions[region][:, scan])] = fill
            rois[:, scan] *= region != 0
        clinical[:, :2] *= 6 in subset
        clinical[:, 2:] *= 7 in subset
        edited.append((images, rois, batch.present, clinical))
    with torch.inference_mode():
        logits = model(*map(torch.cat, zip(*edited, strict=True))).numpy().astype(float)
    return dict(zip(subsets, logits.reshape(len(subsets), -1), strict=True))
