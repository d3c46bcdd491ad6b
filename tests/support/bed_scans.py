"""Small scans of known content for the tests of image features: tissue in fat, on any grid."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fedescc.client.cohort import SiteCohort
from fedescc.common.imaging import Grid, Imaging

FAT_HU, TUMOUR_HU = -100.0, 60.0
GRID = Grid(size_zyx=(40, 40, 40), spacing_zyx_mm=(1.5, 1.5, 1.5), window_hu=(-160, 340))

Image = NDArray[np.float16]
Marks = NDArray[np.uint8]


@dataclass
class Scene:
    """HU on a grid, fat at first, and the tumour bed; lengths in mm from the grid's centre."""

    grid: Grid = GRID

    def __post_init__(self) -> None:
        self.hu = np.full(self.grid.size_zyx, FAT_HU)
        self.roi = np.zeros(self.grid.size_zyx, np.uint8)

    @property
    def axes(self) -> list[NDArray[np.float64]]:
        """Coordinates z, y, x of the voxels' centres."""
        sizes = zip(self.grid.size_zyx, self.grid.spacing_zyx_mm, strict=True)
        return list(np.ix_(*[(np.arange(n) - (n - 1) / 2) * mm for n, mm in sizes]))

    def ball(self, radius: float, centre: tuple[float, float, float] = (0, 0, 0)) -> NDArray[np.bool_]:
        """A ball's voxels."""
        return sum((axis - c) ** 2 for axis, c in zip(self.axes, centre, strict=True)) <= radius**2

    def rod(self, radius: float, centre_yx: tuple[float, float]) -> NDArray[np.bool_]:
        """An upright cylinder's voxels, all slices."""
        _, y, x = self.axes
        inside = (y - centre_yx[0]) ** 2 + (x - centre_yx[1]) ** 2 <= radius**2
        return np.broadcast_to(inside, self.hu.shape).copy()

    @property
    def image(self) -> Image:
        """As preparation makes it."""
        low, high = self.grid.window_hu
        return np.clip((self.hu - low) / (high - low), 0, 1).astype(np.float16)


def ball_scene(radius: float, bed: float = 15.0, tumour_hu: float = TUMOUR_HU, grid: Grid = GRID) -> Scene:
    """A ball of soft tissue in a larger round bed."""
    scene = Scene(grid)
    scene.roi[scene.ball(bed)] = 1
    scene.hu[scene.ball(radius)] = tumour_hu
    return scene


def imaging(*time_points: str, grid: Grid = GRID) -> Imaging:
    """A study's imaging section."""
    return Imaging(time_points=time_points or ("pre", "post"), grid=grid)


def cohort(patients: list[tuple[Scene, ...]]) -> SiteCohort:
    """A site's cohort of these patients, each a scene a time point."""
    n = len(patients)
    return SiteCohort(
        keys=tuple(f"{row:064x}" for row in range(n)),
        labels=np.zeros(n, np.int8),
        numeric={"age": np.full(n, 60.0)},
        categorical={},
        split=np.array(["train"] * n),
        images=np.array([[scene.image for scene in patient] for patient in patients]),
        rois=np.array([[scene.roi for scene in patient] for patient in patients]),
        flow={"included": n},
    )
