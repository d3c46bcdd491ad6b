"""The shap library without its compiler, and only it."""

import subprocess
import sys

PROGRAM = """
import numba
from fedescc.simulations.audit.library import shap_library

shap = shap_library()
assert not numba.config.DISABLE_JIT
assert numba.njit(lambda x: x).__class__.__name__ == "CPUDispatcher"
from shap.explainers import _exact
assert type(_exact._compute_grey_code_row_values).__name__ == "function"
assert shap_library() is shap
"""


def test_shap_is_not_compiled_and_whatever_comes_after_is():
    done = subprocess.run([sys.executable, "-W", "error", "-c", PROGRAM], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
