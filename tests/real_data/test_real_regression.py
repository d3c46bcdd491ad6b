"""Four real hospitals: the federated logistic regression is scikit-learn's on the pooled patients."""

from pathlib import Path

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression

from fedescc.common.study import read_study
from fedescc.common.tabular.covariates import Encoding
from fedescc.server.fold_results import fold_files
from fedescc.server.results import read_json
from fedescc.simulations.cli import shipped_federation
from fedescc.simulations.hospitals import open_hospitals
from fedescc.simulations.simulate import Simulation, simulate

pytestmark = pytest.mark.real_data


def test_coefficients_equal_the_pooled_fit_within_a_millionth(
    real_data: Path, repository: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FEDESCC_REAL_DATA", str(real_data))
    study, cohort = read_study("heart-disease"), repository / "configs" / "cohorts" / "heart-disease"
    federation = shipped_federation(study, ("rounds=1", "training.local_updates=1"))
    results = simulate(Simulation(study, federation, tmp_path, cohort, comparators=("clinical",)))
    (path,) = fold_files(tmp_path)
    federated = read_json(path)["comparator_models"]["clinical"]
    encoding = Encoding.model_validate(federated["encoding"])
    X, y = [], []
    for one in open_hospitals(cohort, study, seed=0, work=tmp_path / "work").cohorts.values():
        rows = one.rows("train")
        X.append(encoding.encode(one.numeric, one.categorical, rows))
        y.append(one.labels[rows])
    model = LogisticRegression(C=federated["penalty"], solver="newton-cholesky", tol=1e-12, max_iter=1000)
    model.fit(np.concatenate(X).astype(np.float64), np.concatenate(y))
    pooled = np.concatenate([model.intercept_, model.coef_[0]])
    np.testing.assert_allclose(federated["coefficients"], pooled, atol=1e-6, rtol=0)
    assert results["comparators"]["clinical"]["fitted_on"] == ["cleveland", "hungarian", "switzerland", "va"]
    assert results["comparators"]["clinical"]["pooled"]["auc"] > 0.85
