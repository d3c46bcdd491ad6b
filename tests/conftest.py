"""Fixtures shared by every test."""

import os
import sys
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(REPOSITORY / "tests" / "support"))


@pytest.fixture(scope="session")
def repository() -> Path:
    """The checkout's root folder."""
    return REPOSITORY


@pytest.fixture(scope="session")
def real_data() -> Path:
    """Folder with real CT, masks and clinical tables; absent data skips, except in CI, where it fails."""
    folder = Path(os.environ.get("FEDESCC_REAL_DATA", REPOSITORY.parent / "shared" / "data"))
    if not folder.is_dir():
        reason = f"no real data at {folder}; set FEDESCC_REAL_DATA"
        if os.environ.get("CI") == "true":
            pytest.fail(reason)
        pytest.skip(reason)
    return folder


@pytest.fixture
def toy(tmp_path: Path):
    """A clinical-only federation of four hospitals in memory."""
    from toy_federation import Toy

    return Toy(tmp_path / "out")


@pytest.fixture
def toy_replies(toy, monkeypatch):
    """Every reply of a whole toy run as (message type, reply), and all patient keys."""
    from fedescc.client import app

    seen = []
    release = app.release

    def watch(reply, message, request, minimum):
        seen.append((message.metadata.message_type, reply))
        return release(reply, message, request, minimum)

    monkeypatch.setattr(app, "release", watch)
    toy.run(rounds=2)
    return seen, [key for cohort in toy.cohorts.values() for key in cohort.keys]
