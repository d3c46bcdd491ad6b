"""Embeddings are the encoder's alone: batches do not change them, and nothing clinical enters."""

import numpy as np
import pytest
import torch
from scan_sites import scan_cohort, scan_study

from fedescc.client.learning.dataset import SiteTensors
from fedescc.client.learning.embed import predict_embeddings
from fedescc.common.errors import Refusal
from fedescc.common.network.model import LinearModel, build_model
from fedescc.common.tabular.covariates import Encoding


@pytest.fixture
def tensors():
    cohort = scan_cohort(1, 7)
    cohort.images[3, 1], cohort.rois[3, 1] = 0, 0
    return SiteTensors.from_cohort(cohort, Encoding(covariates=()), np.arange(7))


def test_every_time_point_has_its_embedding_and_a_missing_one_is_zero(tensors):
    model = build_model(scan_study(), 0, seed=1)
    found = predict_embeddings(model, tensors)
    assert found.shape == (7, 2 * 6)
    assert found.dtype == np.float64
    assert not found[3, 6:].any()
    assert found[3, :6].any()


def test_they_are_what_the_head_is_given_whatever_the_batch(tensors):
    model = build_model(scan_study(), 0, seed=1)
    found = predict_embeddings(model, tensors)
    assert np.allclose(found, predict_embeddings(model, tensors, batch_size=2), atol=1e-5)
    batch = tensors.batch(np.arange(7))
    with torch.inference_mode():
        scans = torch.cat([torch.tensor(found, dtype=torch.float32).reshape(7, 2, 6), batch.present[..., None]], dim=2)
        assert torch.allclose(model.head(scans, batch.clinical), model(*batch.inputs), atol=1e-5)


def test_nobody_has_none_and_a_linear_model_is_refused(tensors):
    model, nobody = build_model(scan_study(), 0, seed=1), np.zeros(0, np.intp)
    empty = SiteTensors.from_cohort(scan_cohort(1, 7), Encoding(covariates=()), nobody)
    assert len(predict_embeddings(model, empty)) == 0
    with pytest.raises(Refusal, match="no-embeddings"):
        predict_embeddings(LinearModel(1), tensors)
