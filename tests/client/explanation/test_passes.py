"""Encoder passes: as few as promised, the same by cells as by volumes, and nothing for a scan that is missing."""

from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from fedescc.client.explanation.passes import encode_regions
from fedescc.client.learning.dataset import SiteTensors
from fedescc.common.imaging import Grid
from fedescc.common.network.cells import CellEncoder
from fedescc.common.network.model import PairedCNN, build_model
from fedescc.common.study import Study

MakeTensors = Callable[..., SiteTensors]


class Counting(nn.Module):
    """Any encoder, which notes how many scans it was given."""

    def __init__(self, inner: nn.Module) -> None:
        super().__init__()
        self.inner, self.scans = inner, 0

    def forward(self, image: Tensor, roi: Tensor) -> Tensor:
        self.scans += len(image)
        embedding: Tensor = self.inner(image, roi)
        return embedding


def model_of(study: Study, rim_mm: float = 0.0, encoder: str = "cells", seed: int = 1) -> PairedCNN:
    settings = study.model.model_copy(update={"rim_mm": rim_mm, "encoder": encoder})
    model = build_model(study.model_copy(update={"model": settings}), 5, seed)
    assert isinstance(model, PairedCNN)
    return model.eval()


def grid_of(study: Study) -> Grid:
    assert study.imaging is not None
    return study.imaging.grid


def encode(model: PairedCNN, tensors: SiteTensors, study: Study, baseline: str = "fixed") -> Tensor:
    return encode_regions([model], tensors, np.arange(len(tensors)), grid_of(study), 6.0, baseline)[0]  # type: ignore[arg-type]


@pytest.mark.parametrize("patients", [1, 5, 9])
@pytest.mark.parametrize("baseline", ["fixed", "local"])
def test_a_patient_costs_at_most_sixteen_passes(
    imaging_study: Study, make_tensors: MakeTensors, patients: int, baseline: str
) -> None:
    model, tensors = model_of(imaging_study), make_tensors(imaging_study, patients)
    model.encoder = counting = Counting(model.encoder)
    encode(model, tensors, imaging_study, baseline)
    assert 14 * patients <= counting.scans <= 16 * patients


def test_cells_cost_no_more(imaging_study: Study, make_tensors: MakeTensors, monkeypatch: pytest.MonkeyPatch) -> None:
    seen = []
    embed = CellEncoder.embed

    def counted(self: CellEncoder, cells: list[Tensor], statistics: Tensor) -> Tensor:
        seen.append(len(statistics))
        return embed(self, cells, statistics)

    monkeypatch.setattr(CellEncoder, "embed", counted)
    encode(model_of(imaging_study), make_tensors(imaging_study, 5), imaging_study)
    assert sum(seen) == 7 * 10 + 1


@pytest.mark.parametrize("rim_mm", [0.0, 6.0])
@pytest.mark.parametrize("baseline", ["fixed", "local"])
def test_cells_and_volumes_agree(imaging_study: Study, make_tensors: MakeTensors, rim_mm: float, baseline: str) -> None:
    model, tensors = model_of(imaging_study, rim_mm), make_tensors(imaging_study, 3)
    by_cells = encode(model, tensors, imaging_study, baseline)
    model.encoder = Counting(model.encoder)
    by_volumes = encode(model, tensors, imaging_study, baseline)
    assert by_cells.shape == (3, 2, 8, 7)
    # The SD of a cell that is one level throughout is 0 by cells, and by volumes the root of a rounding error.
    assert torch.allclose(by_cells, by_volumes, atol=2e-6 if baseline == "fixed" else 1e-3)
    # The subsets differ by far more than that.
    assert float((by_cells[:, :, 7] - by_cells[:, :, 6]).abs().max()) > 1e-2


def test_a_whole_scan_is_encoded_as_the_model_does(imaging_study: Study, make_tensors: MakeTensors) -> None:
    model, tensors = model_of(imaging_study), make_tensors(imaging_study, 4)
    batch = tensors.batch(np.arange(4))
    with torch.no_grad():
        own = model.encode(batch.images.flatten(0, 1), batch.rois.flatten(0, 1), batch.present.flatten())
    assert torch.allclose(encode(model, tensors, imaging_study)[:, :, 7], own.reshape(4, 2, -1), atol=1e-6)


def test_other_encoders_are_explained_too(imaging_study: Study, make_tensors: MakeTensors) -> None:
    model, tensors = model_of(imaging_study, encoder="resnet10"), make_tensors(imaging_study, 2)
    found = encode(model, tensors, imaging_study)
    assert found.shape == (2, 2, 8, 7)
    assert float(found[:, :, 7].sub(found[:, :, 0]).abs().max()) > 1e-4


def test_a_missing_scan_is_all_zeros(imaging_study: Study, make_tensors: MakeTensors) -> None:
    tensors = make_tensors(imaging_study, 3)
    tensors.present[1, 1] = 0
    found = encode(model_of(imaging_study), tensors, imaging_study)
    assert not found[1, 1].any()
    assert found[1, 0].any()
    assert (found[..., -1] == tensors.present[:, :, None]).all()
    tensors.present[:] = 0
    assert not encode(model_of(imaging_study), tensors, imaging_study).any()


def test_several_models_share_passes_and_keep_their_own_results(
    imaging_study: Study, make_tensors: MakeTensors
) -> None:
    tensors, rows = make_tensors(imaging_study, 4), np.arange(4)
    models = [model_of(imaging_study, seed=seed) for seed in (1, 2)]
    together = encode_regions(models, tensors, rows, grid_of(imaging_study), 6.0, "fixed")
    for model, found in zip(models, together, strict=True):
        assert torch.equal(found, encode(model, tensors, imaging_study))
    assert not torch.equal(*together)
