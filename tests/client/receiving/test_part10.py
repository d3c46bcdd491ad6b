"""The head of a received file, read back by pydicom."""

import re
from io import BytesIO

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydicom import dcmread
from pydicom.filereader import read_file_meta_info
from pydicom.uid import UID, CTImageStorage, ExplicitVRLittleEndian

from fedescc.client.imaging.quiet import quiet_pydicom
from fedescc.client.receiving.part10 import IMPLEMENTATION_CLASS_UID, file_head
from fedescc.common.errors import Refusal

uids = st.from_regex(re.compile(r"[0-9]+(\.[0-9]+){1,9}"), fullmatch=True).filter(lambda uid: len(uid) <= 64)


@settings(max_examples=30)
@given(uids, uids, st.sampled_from([ExplicitVRLittleEndian, "1.2.840.10008.1.2", "1.2.840.10008.1.2.4.90"]))
def test_what_is_written_is_read_back(sop_class, sop_uid, syntax):
    head = file_head(sop_class, sop_uid, syntax)
    assert len(head) % 2 == 0
    assert head[:128] == bytes(128)
    with quiet_pydicom():  # leading zeros are against the standard, and in the wild
        meta = dcmread(BytesIO(head)).file_meta
        assert meta.FileMetaInformationVersion == b"\0\1"
        assert (meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID) == (sop_class, sop_uid)
        assert meta.TransferSyntaxUID == syntax
        assert (meta.ImplementationClassUID, meta.ImplementationVersionName) == (IMPLEMENTATION_CLASS_UID, "FEDESCC")


def test_the_stated_length_is_the_meta_information_s(tmp_path):
    head = file_head(CTImageStorage, "1.2.3", ExplicitVRLittleEndian)
    (tmp_path / "a").write_bytes(head)
    stated = read_file_meta_info(tmp_path / "a").FileMetaInformationGroupLength
    assert stated == len(head) - 128 - 4 - 12  # counted from the end of its own element (PS3.10 7.1)


def test_nothing_of_sender_or_time_makes_two_files_of_one_object():
    assert file_head(CTImageStorage, "1.2.3", "1.2") == file_head(CTImageStorage, "1.2.3", "1.2")


def test_our_own_uid_is_one():
    assert UID(IMPLEMENTATION_CLASS_UID).is_valid


@pytest.mark.parametrize("uid", ["", "1.2.x", "1." * 33, "1.2\n", "../../etc", "1.2 "])
@pytest.mark.parametrize("place", [0, 1, 2])
def test_what_is_no_uid_is_refused(uid, place):
    values = ["1.2", "1.2", "1.2"]
    values[place] = uid
    with pytest.raises(Refusal, match="invalid_uid") as caught:
        file_head(*values)
    assert not uid or uid not in str(caught.value)
