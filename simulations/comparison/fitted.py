"""The federated model of a finished run, ready to score patients; only a simulation scores another site's."""

from pathlib import Path

from fedescc.common.arrays import join_parameters, load_parameters, load_safetensors, parameter_layout
from fedescc.common.network.model import build_model
from fedescc.common.study import Study
from fedescc.common.tabular.covariates import read_encoding
from fedescc.simulations.comparison.comparators import Fitted


def read_fitted(path: Path, study: Study) -> Fitted:
    """The model in a run's ``model.safetensors`` with the encoding of its inputs.

    Raises:
        Refusal: no such file, not this study's model, or ``old-encoding``.

    """
    arrays, metadata = load_safetensors(path)
    encoding = read_encoding(metadata.get("encoding", ""))
    model = build_model(study, len(encoding.columns), seed=0)  # every weight is overwritten next
    load_parameters(model, join_parameters(parameter_layout(model), arrays))
    return Fitted(model, encoding)
