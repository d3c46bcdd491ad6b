"""Whether CTs are still coming in: intake would take a series of which half has arrived for a short one."""

import time

from fedescc.client.site import SiteFile

_STUDY_FOLDERS = "received-*"
# A PACS sends a series without longer pauses; a series grows its folder with every file.
_QUIET_SECONDS = 120.0


def still_arriving(site: SiteFile) -> bool:
    """Whether a received series has grown within the last two minutes."""
    images = site.settings.images
    if images is None:
        return False
    now = time.time()
    folders = site.path(images.dicom).glob(f"{_STUDY_FOLDERS}/*/")
    return any(now - folder.stat().st_mtime < _QUIET_SECONDS for folder in folders)
