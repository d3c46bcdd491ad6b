"""What is accepted is what intake can read: no less, and nothing it cannot."""

import pytest
from pydicom.pixels import get_decoder
from pydicom.uid import UID, AllTransferSyntaxes
from pynetdicom.service_class import StorageServiceClass, VerificationServiceClass
from pynetdicom.sop_class import _STORAGE_CLASSES, uid_to_service_class

from fedescc.client.receiving.capabilities import SOP_CLASSES, TRANSFER_SYNTAXES, VERIFICATION

NATIVE = 4  # the first ones: implicit, explicit, big endian, deflated


@pytest.mark.parametrize("syntax", TRANSFER_SYNTAXES[NATIVE:])
def test_every_compressed_syntax_has_an_installed_decoder(syntax):
    assert UID(syntax).is_encapsulated
    assert get_decoder(syntax).is_available


def test_every_syntax_that_can_be_decoded_is_accepted():
    decodable = set()
    for uid in AllTransferSyntaxes:
        try:
            decodable |= {str(uid)} if get_decoder(uid).is_available else set()
        except NotImplementedError:
            continue
    assert set(TRANSFER_SYNTAXES) == decodable


def test_what_loses_nothing_is_preferred():
    lossy = {"1.2.840.10008.1.2.4." + end for end in ("50", "51", "81", "91", "203")}
    order = [syntax in lossy for syntax in TRANSFER_SYNTAXES]
    assert order == sorted(order)
    assert sum(order) == len(lossy)


def test_classes_are_images_and_regions_by_their_standard_names():
    keywords = {uid: keyword for keyword, uid in _STORAGE_CLASSES.items()}
    assert [keywords[uid] for uid in SOP_CLASSES] == [
        "CTImageStorage",
        "EnhancedCTImageStorage",
        "LegacyConvertedEnhancedCTImageStorage",
        "RTStructureSetStorage",
        "SegmentationStorage",
        "LabelMapSegmentationStorage",
    ]
    assert uid_to_service_class(VERIFICATION) is VerificationServiceClass
    assert {uid_to_service_class(uid) for uid in SOP_CLASSES} == {StorageServiceClass}
