"""Nothing contacts the outside: Flower's telemetry is off before Flower is imported, and no run opens a socket."""

import os
import subprocess
import sys

import pytest

PROGRAM = """
import sys, fedescc.common.wire
from flwr.supercore import telemetry
print(telemetry.FLWR_TELEMETRY_ENABLED)
"""

NO_SOCKETS = """
import socket, sys
def refuse(*args, **kwargs):
    raise OSError("a connection was attempted")
socket.socket.connect = refuse
socket.create_connection = refuse
socket.getaddrinfo = refuse
sys.path.insert(0, sys.argv[1])
from pathlib import Path
from toy_federation import Toy
print(Toy(Path(sys.argv[2])).run(rounds=1)["rounds"][0]["accepted"])
"""


def run(program, *arguments):
    environment = {name: value for name, value in os.environ.items() if not name.startswith("FLWR_")}
    command = [sys.executable, "-c", program, *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=True, env=environment, timeout=120).stdout


def test_telemetry_is_off_by_default():
    assert run(PROGRAM).strip() == "0"


def test_a_whole_run_opens_no_connection(repository, tmp_path):
    assert run(NO_SOCKETS, str(repository / "tests" / "support"), str(tmp_path)).strip() == "4"


@pytest.mark.parametrize("name", ["FLWR_TELEMETRY_ENABLED", "FLWR_DISABLE_UPDATE_CHECK"])
def test_a_sites_own_choice_is_respected(name):
    program = f"import os; os.environ['{name}'] = 'mine'; import fedescc.common; print(os.environ['{name}'])"
    assert run(program).strip() == "mine"
