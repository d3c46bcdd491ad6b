"""The headers of real files are read to the same rows by walking their elements as by pydicom."""

from pathlib import Path

import pytest

from fedescc.client.imaging.headers import header
from fedescc.client.imaging.headers.index import index_folder
from fedescc.client.imaging.quiet import quiet_pydicom

pytestmark = pytest.mark.real_data


def test_both_ways_agree_on_every_real_file(real_data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    walked = index_folder(real_data, workers=1)
    monkeypatch.setattr(header, "scan", lambda *_: None)
    with quiet_pydicom():
        assert index_folder(real_data, workers=1) == walked
    assert len(walked.rows) > 100


def test_a_store_gives_the_same_index(real_data: Path, tmp_path: Path) -> None:
    for _ in range(2):
        assert index_folder(real_data, store=tmp_path / "store") == index_folder(real_data)
