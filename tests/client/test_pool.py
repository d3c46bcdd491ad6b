"""Work in processes: every result once, and a process that dies costs its own input only."""

import os

import pytest
from pool_functions import square, whose

from fedescc.client.pool import run_all


def test_few_inputs_are_done_here() -> None:
    inputs = {str(n): n for n in range(3)}
    assert dict(run_all(whose, inputs, lambda: -1, workers=2)) == dict.fromkeys(inputs, os.getpid())
    assert dict(run_all(square, {}, lambda: -1, workers=2)) == {}


def test_few_are_done_apart_where_one_may_kill_its_process() -> None:
    assert dict(run_all(whose, {"a": 1}, lambda: -1, apart=True))["a"] != os.getpid()
    assert dict(run_all(square, {"a": 5, "b": 3}, lambda: -1, apart=True)) == {"a": -1, "b": 9}


def test_many_are_done_in_other_processes() -> None:
    inputs = {str(n): n for n in range(12)}
    found = dict(run_all(whose, inputs, lambda: -1, workers=2))
    assert found.keys() == inputs.keys()
    assert os.getpid() not in found.values()


@pytest.mark.slow
def test_an_input_that_kills_its_process_costs_nobody_else() -> None:
    inputs = {str(n): n for n in range(12)}
    assert dict(run_all(square, inputs, lambda: -1, workers=2)) == {str(n): -1 if n == 5 else n * n for n in range(12)}
