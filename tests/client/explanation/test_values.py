"""Shapley values are exact: they add up, ignore what the model ignores, and equal a brute-force sum."""

import warnings
from collections.abc import Callable
from itertools import combinations
from math import factorial
from typing import Any

import numpy as np
import pytest
import torch
from scipy.ndimage import distance_transform_edt
from torch import Tensor, nn

from fedescc.client.cohort import SiteCohort
from fedescc.client.explanation.games import Inputs, _by_parts, _by_rows, column_weights, full_logits
from fedescc.client.explanation.regions import BASELINE_HU, RIM_MM
from fedescc.client.explanation.values import explain, explain_columns, inputs_of, region_embeddings
from fedescc.client.learning.dataset import SiteTensors
from fedescc.client.learning.predict import predict_logits
from fedescc.common.network.model import build_model
from fedescc.common.study import Analysis, Study
from fedescc.common.tabular.covariates import Encoding

MakeTensors = Callable[..., SiteTensors]
MakeEncoding = Callable[[Study, SiteCohort], Encoding]
MakeCohort = Callable[..., SiteCohort]
PLAYERS = ("pre_tumour", "pre_rim", "pre_rest", "post_tumour", "post_rim", "post_rest", "age", "sex")


@pytest.fixture(scope="module")
def shap() -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of matplotlib, at import
        import shap

        return shap


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


@pytest.mark.parametrize("hidden", [0, 8], ids=["linear-fusion", "hidden-layer"])
@pytest.mark.parametrize("rim_mm", [0.0, 3.0], ids=["without-rim", "rim-of-the-model"])
def test_values_equal_a_sum_over_all_subsets_of_edited_patients(
    imaging_study: Study, make_tensors: MakeTensors, encoding: Encoding, rim_mm: float, hidden: int
) -> None:
    settings = imaging_study.model.model_copy(update={"rim_mm": rim_mm, "hidden": hidden})
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


def test_a_linear_fusions_parts_give_what_its_head_gives(
    imaging_study: Study, make_tensors: MakeTensors, encoding: Encoding
) -> None:
    study = with_model(imaging_study, hidden=0)
    model, tensors, rows = build_model(study, 5, 1).eval(), make_tensors(study, 3), np.arange(3)
    embedded = region_embeddings([model], tensors, study, rows)[0]
    reference = np.linspace(-0.5, 0.5, 5)
    inputs = inputs_of(embedded, tensors, rows, study, encoding, reference)
    with torch.inference_mode():
        by_parts, by_rows = (compute(model, inputs, embedded, inputs.clinical) for compute in (_by_parts, _by_rows))
    assert by_parts.shape == (3, 256)
    assert by_parts == pytest.approx(by_rows, abs=1e-5)
    assert full_logits(model, inputs) == pytest.approx(by_parts[:, -1], abs=1e-5)


def test_a_removed_group_shows_the_reference(
    imaging_study: Study, make_tensors: MakeTensors, encoding: Encoding
) -> None:
    model, tensors = build_model(imaging_study, 5, 1), make_tensors(imaging_study, 3)
    reference = np.array([0.3, 0.1, 0.4, 0.5, 0.1])
    shown = explain(model, tensors, imaging_study, encoding, reference)
    assert shown.base + shown.phi.sum(axis=1) == pytest.approx(predict_logits(model, tensors), abs=1e-5)
    assert np.abs(shown.base - explain(model, tensors, imaging_study, encoding).base).min() > 1e-3
    tensors.clinical[:, 2:] = torch.from_numpy(reference[2:]).float()
    at_reference = explain(model, tensors, imaging_study, encoding, reference)
    assert np.abs(at_reference.phi[:, PLAYERS.index("sex")]).max() < 1e-6


class PostTumour(nn.Module):
    """An encoder of one number: the sum of a scan's intensities within its ROI."""

    def forward(self, image: Tensor, roi: Tensor) -> Tensor:
        total = (image * roi).sum(dim=(1, 2, 3))
        return torch.nn.functional.pad(total[:, None], (0, 5))


def test_a_model_that_looks_at_the_second_tumour_alone_is_explained_by_it_alone(
    imaging_study: Study, make_tensors: MakeTensors, encoding: Encoding
) -> None:
    study = with_model(imaging_study, hidden=0)
    model, tensors = build_model(study, 5, 1), make_tensors(study, 4)
    model.encoder = PostTumour()
    with torch.no_grad():
        model.fusion.weight.zero_()
        model.fusion.weight[0, 6] = 0.01  # embeddings of the first CT, of the second, their difference
    found = explain(model, tensors, study, encoding)
    place = PLAYERS.index("post_tumour")
    batch = tensors.batch(np.arange(4))
    inside = (batch.images * batch.rois).sum(dim=(2, 3, 4)).numpy()[:, 1]
    assert found.phi[:, place] == pytest.approx(0.01 * inside, rel=1e-5)
    assert np.abs(np.delete(found.phi, place, axis=1)).max() < 1e-12
    assert (found.areas > 0).all()


def test_columns_of_a_linear_model_equal_shaps_linear_explainer(
    shap: Any, clinical_study: Study, make_tensors: MakeTensors, make_cohort: MakeCohort, make_encoding: MakeEncoding
) -> None:
    encoding = make_encoding(clinical_study, make_cohort(40, 0, 0))
    model, tensors = linear_model(clinical_study), make_tensors(clinical_study, 40)
    columns = tensors.clinical.numpy().astype(np.float64)
    means = columns.mean(axis=0)
    found = explain_columns(model, tensors, encoding, means)
    weights = model.linear.weight[0].detach().numpy().astype(np.float64)
    theirs = shap.LinearExplainer((weights, 0.25), shap.maskers.Independent(means[None]))(columns)
    assert found.players == encoding.columns
    assert found.phi == pytest.approx(theirs.values, abs=1e-6)
    assert found.base == pytest.approx(theirs.base_values, abs=1e-6)
    assert found.phi.mean(axis=0) == pytest.approx(np.zeros(5), abs=1e-6)
    groups = explain(model, tensors, clinical_study, encoding, means)
    assert groups.phi[:, 1] == pytest.approx(found.phi[:, 2:].sum(axis=1), abs=1e-6)


@pytest.mark.slow  # shap compiles
def test_equals_shaps_exact_explainer_on_our_cached_passes(
    shap: Any, imaging_study: Study, make_tensors: MakeTensors, encoding: Encoding
) -> None:
    study = with_model(imaging_study, hidden=0)
    model, tensors, rows = build_model(study, 5, 1), make_tensors(study, 1), np.arange(1)
    embedded = region_embeddings([model], tensors, study, rows)[0]
    inputs = inputs_of(embedded, tensors, rows, study, encoding)

    def worth(masks: np.ndarray) -> np.ndarray:
        return np.array([masked_logit(model, inputs, mask) for mask in np.asarray(masks, bool)])

    theirs = shap.ExactExplainer(worth, np.zeros((1, 8)))(np.ones((1, 8)), silent=True)
    assert explain(model, tensors, study, encoding).phi == pytest.approx(theirs.values, abs=1e-5)


def masked_logit(model: nn.Module, inputs: Inputs, mask: np.ndarray) -> float:
    """One coalition by hand: the scans' subsets of regions, and columns at their reference."""
    scans = [int(mask[3 * point : 3 * point + 3] @ np.array([1, 2, 4])) for point in (0, 1)]
    seen = torch.stack([inputs.embedded[0, point, scan] for point, scan in enumerate(scans)])[None]
    kept = torch.from_numpy(mask[6:][inputs.groups])
    with torch.inference_mode():
        return float(model.head(seen, torch.where(kept, inputs.clinical[0], inputs.reference)[None])[0])


def with_model(study: Study, **settings: object) -> Study:
    return study.model_copy(update={"model": study.model.model_copy(update=settings)})


def linear_model(study: Study) -> nn.Module:
    model = build_model(study, 5, 0)
    with torch.no_grad():
        model.linear.weight.copy_(torch.tensor([[0.5, -1, 2, 0.3, 1]]))
        model.linear.bias.fill_(0.25)
    assert column_weights(model, 5) == pytest.approx([0.5, -1, 2, 0.3, 1])
    return model


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
