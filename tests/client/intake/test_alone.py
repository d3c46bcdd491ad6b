"""One intake at a time; a killed one's lock is free."""

import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from fedescc.client.intake.alone import alone
from fedescc.common.errors import Refusal

HOLD = """
import sys
from pathlib import Path
from fedescc.client.intake.alone import alone
with alone(Path(sys.argv[1])):
    print("held", flush=True)
    sys.stdin.readline()
"""


def holder(work: Path) -> "subprocess.Popen[str]":
    process = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(work)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "held\n"
    return process


def test_a_second_intake_waits_for_the_first(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with holder(tmp_path) as first:
        order: list[str] = []

        def second() -> None:
            with alone(tmp_path):
                order.append("second")

        thread = threading.Thread(target=second)
        thread.start()
        thread.join(0.3)
        order.append("first ends")
        first.communicate("\n", timeout=30)
        thread.join(30)
    assert order == ["first ends", "second"]
    assert "waiting for it" in capsys.readouterr().err


def test_the_lock_of_a_killed_intake_is_free(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with holder(tmp_path) as killed:
        os.kill(killed.pid, signal.SIGKILL)
        killed.wait(30)
    with alone(tmp_path):
        pass
    assert capsys.readouterr().err == ""


def test_a_folder_that_cannot_be_written_is_refused(tmp_path: Path) -> None:
    (tmp_path / "work").write_text("a file")
    with pytest.raises(Refusal, match="unusable-work-folder"), alone(tmp_path / "work"):
        pass
