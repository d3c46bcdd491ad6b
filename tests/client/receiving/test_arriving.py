"""A series that grows is not yet whole."""

import os
import time

from pacs import make_site

from fedescc.client.receiving.arriving import still_arriving
from fedescc.client.site import SiteFile


def test_a_received_series_is_arriving_until_it_has_been_quiet_for_two_minutes(tmp_path):
    site = make_site(tmp_path)
    export = site.path(site.settings.images.dicom)
    assert not still_arriving(site)
    (export / "exported" / "series").mkdir(parents=True)
    assert not still_arriving(site), "what was copied there by hand is not received"
    series = export / "received-1" / "2"
    series.mkdir(parents=True)
    assert still_arriving(site)
    os.utime(series, (time.time() - 121,) * 2)
    assert not still_arriving(site)
    (series / "3.dcm").write_bytes(b"")
    assert still_arriving(site)


def test_a_site_without_cts_receives_none(tmp_path):
    site = make_site(tmp_path)
    bare = SiteFile(settings=site.settings.model_copy(update={"images": None}), folder=tmp_path)
    assert not still_arriving(bare)
