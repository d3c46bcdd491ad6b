"""The data on which published values rest."""

import csv
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray


@pytest.fixture(scope="session")
def asah(real_data: Path) -> dict[str, NDArray[np.float64]]:
    """The aSAH data of pROC: outcome 1 = Poor, and three predictors."""
    with (real_data / "proc_asah" / "aSAH.csv").open() as file:
        rows = list(csv.DictReader(file))
    table = {name: np.array([float(row[name]) for row in rows]) for name in ("wfns", "s100b", "ndka")}
    return table | {"poor": np.array([float(row["outcome"] == "Poor") for row in rows])}
