"""The ``shap`` library, imported once, without the warnings that its import makes and without its compiler."""

import warnings
from typing import Any


def shap_library() -> Any:
    """The module.

    Its colour maps use functions that Matplotlib is going to deprecate. Its loops are compiled by numba at their first
    call, which takes ten seconds and more; over the coalitions of two patients they take less than one as they are.
    """
    import numba

    settings: Any = numba.config
    compiled = settings.DISABLE_JIT
    settings.DISABLE_JIT = 1  # read when a function is decorated, so that mirp's are compiled as ever
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", PendingDeprecationWarning)
            import shap
    finally:
        settings.DISABLE_JIT = compiled
    return shap
