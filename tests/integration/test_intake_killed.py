"""An intake that is killed at any moment goes on where it was, and ends with the same cohort."""

import hashlib
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from fedescc.common.study import read_study

pytestmark = pytest.mark.slow
STUDY = "escc-pcr"


@pytest.fixture(scope="module")
def cohort(tmp_path_factory: pytest.TempPathFactory) -> Path:
    from fedescc.simulations.patients.cohort import write_cohort

    out = tmp_path_factory.mktemp("killed") / "cohort"
    write_cohort(out, [12], 4, read_study(STUDY), workers=2)
    return out / "site-a"


def start(site: Path) -> "subprocess.Popen[bytes]":
    command = [str(Path(sys.executable).with_name("fedescc-client")), "intake", "--site", str(site / "site.yaml")]
    return subprocess.Popen(
        command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True, cwd=site
    )


def finish(site: Path) -> str:
    """Run intake to its end; SHA-256 over the cohort's arrays."""
    assert start(site).wait(timeout=300) == 0
    (folder,) = [one for one in (site / "work" / "cache").iterdir() if not one.name.startswith("draft-")]
    digest = hashlib.sha256()
    for name in ("images.npy", "rois.npy"):
        digest.update((folder / name).read_bytes())
    return digest.hexdigest()


def parts(site: Path) -> dict[str, int]:
    """Finished parts and when each was written."""
    folder = site / "work" / "parts" / STUDY
    return {one.name: one.stat().st_mtime_ns for one in folder.glob("*.npz")} if folder.is_dir() else {}


def kill_when(process: "subprocess.Popen[bytes]", ready: object) -> None:
    """SIGKILL to the command and its workers as soon as ``ready()`` holds."""
    deadline = time.monotonic() + 120
    while not ready() and process.poll() is None and time.monotonic() < deadline:  # type: ignore[operator]
        time.sleep(0.005)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait(timeout=60)


@pytest.fixture(scope="module")
def whole(cohort: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[str, int]:
    """The arrays of an intake that nobody disturbed, and its number of parts."""
    site = Path(shutil.copytree(cohort, tmp_path_factory.mktemp("whole") / "site"))
    return finish(site), len(parts(site))


@pytest.fixture
def site(cohort: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(cohort, tmp_path / "site"))


def test_parts_survive_a_kill_and_are_not_made_again(site: Path, whole: tuple[str, int]) -> None:
    process = start(site)
    kill_when(process, lambda: len(parts(site)) >= 3)
    before = parts(site)
    assert 3 <= len(before) < whole[1], "killed in the middle"
    cached = [one.name for one in (site / "work" / "cache").iterdir()]
    assert all(name.startswith("draft-") for name in cached), "nothing half done looks like a cohort"
    assert finish(site) == whole[0]
    after = parts(site)
    assert {name: after[name] for name in before} == before, "what was done is taken as it is"
    assert len(after) == whole[1]


@pytest.mark.parametrize("delay", [0.4, 1.2])
def test_a_kill_at_any_other_moment_loses_nothing(site: Path, whole: tuple[str, int], delay: float) -> None:
    began = time.monotonic()
    kill_when(start(site), lambda: time.monotonic() - began > delay)
    assert finish(site) == whole[0]
