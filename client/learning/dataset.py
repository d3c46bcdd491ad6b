"""A site's patients as batches of torch tensors, read from the memory-mapped cache."""

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from fedescc.client.cohort import SiteCohort
from fedescc.client.learning.harmonise import Maps, maps_for
from fedescc.common.errors import Refusal
from fedescc.common.tabular.covariates import Encoding

_INFINITY = 0x7C00  # its bits in float16


class Batch(NamedTuple):
    """One batch; a study without images has zero time points and empty images.

    Attributes:
        images: (b, t, z, y, x) float32 in [0, 1].
        rois: (b, t, z, y, x) float32, 1 inside the ROI.
        present: (b, t) float32, 1 where the patient has a CT at the time point.
        clinical: (b, columns) float32.
        labels: (b,) float32, 1 = endpoint positive.

    """

    images: Tensor
    rois: Tensor
    present: Tensor
    clinical: Tensor
    labels: Tensor

    @property
    def inputs(self) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """What the model's ``forward`` takes."""
        return self.images, self.rois, self.present, self.clinical

    def to(self, device: torch.device) -> "Batch":
        """The same batch on a device."""
        return Batch(*(tensor.to(device, non_blocking=True) for tensor in self))


@dataclass(frozen=True, eq=False)
class SiteTensors:
    """Patients of one site and one split; images stay memory-mapped until a batch asks for them.

    Attributes:
        rows: (n,) row numbers in ``images`` and ``rois``.
        images: (all patients, t, z, y, x) float16, or None.
        rois: the same shape, uint8, or None.
        present: (n, t) float32; a CT whose voxels are all 0 (the lowest HU) counts as missing.
        clinical: (n, columns) float32.
        labels: (n,) float32.
        maps: of the scans to the federation's intensities, where the encoding harmonises them.

    """

    rows: NDArray[np.intp]
    images: NDArray[np.float16] | None
    rois: NDArray[np.uint8] | None
    present: Tensor
    clinical: Tensor
    labels: Tensor
    maps: Maps | None = None

    @classmethod
    def from_cohort(cls, cohort: SiteCohort, encoding: Encoding, rows: NDArray[np.intp]) -> "SiteTensors":
        """The rows given (usually ``cohort.rows("train")``), covariates encoded, scans harmonised if the encoding says.

        Raises:
            Refusal: ``image-not-finite`` when a cached image holds NaN or infinity.

        """
        clinical = encoding.encode(cohort.numeric, cohort.categorical, rows)
        return cls(
            rows,
            cohort.images,
            cohort.rois,
            torch.from_numpy(_present(cohort.images, rows)),
            torch.from_numpy(clinical),
            torch.from_numpy(cohort.labels[rows].astype(np.float32)),
            maps_for(encoding.harmonisation, cohort, rows),
        )

    def __len__(self) -> int:
        return len(self.rows)

    def batch(self, index: NDArray[np.intp]) -> Batch:
        """Patients by their place in this set, as float32 on the CPU."""
        where = torch.from_numpy(np.asarray(index, np.int64))
        images, rois = self._volumes(index)
        return Batch(images, rois, self.present[where], self.clinical[where], self.labels[where])

    def _volumes(self, index: NDArray[np.intp]) -> tuple[Tensor, Tensor]:
        if self.images is None or self.rois is None:
            nothing = torch.zeros(len(index), 0, 0, 0, 0)
            return nothing, nothing
        rows = self.rows[index]
        images, rois = self.images[rows], torch.from_numpy(self.rois[rows]).float()
        if self.maps is None:
            return torch.from_numpy(images).float(), rois
        return torch.from_numpy(self.maps.apply(index, images)), rois


def _present(images: NDArray[np.float16] | None, rows: NDArray[np.intp]) -> NDArray[np.float32]:
    if images is None:
        return np.zeros((len(rows), 0), np.float32)
    # One patient at a time: the whole cache need not fit in memory. Bits of magnitude order like the numbers do,
    # infinity and NaN above all others, and integers are compared 20 times faster than halves.
    largest = [(images[row].view(np.uint16) & 0x7FFF).max(axis=(1, 2, 3)) for row in rows]
    bits = np.array(largest, np.uint16).reshape(len(rows), images.shape[1])
    if (bits >= _INFINITY).any():
        raise Refusal(
            "image-not-finite",
            f"{int((bits >= _INFINITY).sum())} cached images hold NaN or infinity",
            "delete the site's cache and run intake again",
        )
    return (bits > 0).astype(np.float32)
