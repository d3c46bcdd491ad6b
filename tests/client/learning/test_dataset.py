"""A site's patients become batches without touching those of other splits."""

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
import torch

from fedescc.client.cohort import SiteCohort
from fedescc.client.learning.dataset import SiteTensors
from fedescc.common.errors import Refusal
from fedescc.common.study import Study
from fedescc.common.tabular.covariates import Encoding

MakeCohort = Callable[..., SiteCohort]
MakeEncoding = Callable[[Study, SiteCohort], Encoding]


def test_batch_holds_the_rows_asked_for(
    imaging_study: Study, make_cohort: MakeCohort, make_encoding: MakeEncoding
) -> None:
    cohort = make_cohort(9)
    encoding = make_encoding(imaging_study, cohort)
    tensors = SiteTensors.from_cohort(cohort, encoding, cohort.rows("test"))
    assert len(tensors) == 4
    batch = tensors.batch(np.array([3, 0]))
    assert cohort.images is not None
    assert np.array_equal(batch.images.numpy(), cohort.images[[7, 1]].astype(np.float32))
    assert batch.labels.tolist() == cohort.labels[[7, 1]].tolist()
    expected = encoding.encode(cohort.numeric, cohort.categorical, np.array([7, 1]))
    assert np.array_equal(batch.clinical.numpy(), expected)
    assert {tensor.dtype for tensor in batch} == {torch.float32}


def test_a_memory_mapped_cache_gives_the_same_batches(
    imaging_study: Study, make_cohort: MakeCohort, make_encoding: MakeEncoding, tmp_path: object
) -> None:
    cohort = make_cohort(4)
    np.save(f"{tmp_path}/images.npy", cohort.images)  # type: ignore[arg-type] # the factory made images
    mapped = replace(cohort, images=np.load(f"{tmp_path}/images.npy", mmap_mode="r"))
    encoding, rows = make_encoding(imaging_study, cohort), np.arange(4)
    batches = [SiteTensors.from_cohort(c, encoding, rows).batch(rows) for c in (cohort, mapped)]
    assert torch.equal(batches[0].images, batches[1].images)


def test_an_empty_scan_counts_as_missing(
    imaging_study: Study, make_cohort: MakeCohort, make_encoding: MakeEncoding
) -> None:
    cohort = make_cohort(3)
    assert cohort.images is not None
    cohort.images[1, 1] = 0
    tensors = SiteTensors.from_cohort(cohort, make_encoding(imaging_study, cohort), np.arange(3))
    assert tensors.present.tolist() == [[1, 1], [1, 0], [1, 1]]


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_images_that_are_not_finite_are_refused(
    imaging_study: Study, make_cohort: MakeCohort, make_encoding: MakeEncoding, value: float
) -> None:
    cohort = make_cohort(3)
    assert cohort.images is not None
    cohort.images[2, 0, 3, 3, 3] = value
    encoding = make_encoding(imaging_study, cohort)
    with pytest.raises(Refusal, match="1 cached images") as refusal:
        SiteTensors.from_cohort(cohort, encoding, np.arange(3))
    assert refusal.value.code == "image-not-finite"
    assert len(SiteTensors.from_cohort(cohort, encoding, np.arange(2))) == 2


def test_a_study_without_images_has_no_time_points(
    clinical_study: Study, make_cohort: MakeCohort, make_encoding: MakeEncoding
) -> None:
    cohort = make_cohort(3, 0, 0)
    tensors = SiteTensors.from_cohort(cohort, make_encoding(clinical_study, cohort), np.arange(3))
    batch = tensors.batch(np.arange(3))
    assert batch.images.numel() == 0
    assert batch.present.shape == (3, 0)
    assert batch.clinical.shape == (3, 5)
