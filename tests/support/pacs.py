"""A hospital with a receiver, and senders that behave well or badly."""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
from pydicom import Dataset
from pydicom.dataset import FileMetaDataset
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian

from fedescc.client.receiving.network import Receiver
from fedescc.client.receiving.options import Limits, Options
from fedescc.client.receiving.receive import receiver
from fedescc.client.site import SiteFile, read_site

SITE = "site: a\nclinical: {{path: clinical.csv}}\nimages: {{dicom: dicom, match: {match}}}\nwork: work\n"
NAME, PATIENT_ID = "Meyer^Anna", "MRN-40021"


def make_site(folder: Path, match: str = "patient_id") -> SiteFile:
    """A site whose CTs go to ``folder/dicom``."""
    path = folder / "site.yaml"
    path.write_text(SITE.format(match=match), encoding="utf-8")
    return read_site(path)


def make_ct(
    instance: int = 1, *, study: str = "1.2.3", series: str = "1.2.3.4", side: int = 16, **tags: object
) -> Dataset:
    """One CT image of side x side random values, as a PACS would send it."""
    dataset = Dataset()
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    dataset.SOPClassUID = CTImageStorage
    dataset.SOPInstanceUID = f"{series}.{instance}"
    dataset.Modality = "CT"
    dataset.PatientName, dataset.PatientID = NAME, PATIENT_ID
    dataset.StudyInstanceUID, dataset.SeriesInstanceUID = study, series
    dataset.InstanceNumber = instance
    dataset.ImagePositionPatient = [0, 0, 2 * instance]
    dataset.ImageOrientationPatient = [1, 0, 0, 0, 1, 0]
    dataset.PixelSpacing = [0.8, 0.8]
    dataset.RescaleSlope, dataset.RescaleIntercept = 1, -1024
    dataset.Rows = dataset.Columns = side
    dataset.SamplesPerPixel, dataset.PhotometricInterpretation = 1, "MONOCHROME2"
    dataset.BitsAllocated = dataset.BitsStored = 16
    dataset.HighBit, dataset.PixelRepresentation = 15, 0
    for keyword, value in tags.items():
        setattr(dataset, keyword, value)
    pixels = np.random.default_rng(instance).integers(0, 4096, (side, side), dtype=np.uint16)
    dataset.PixelData = pixels.tobytes()
    dataset["PixelData"].VR = "OW"
    return dataset


@dataclass
class Pacs:
    """A running receiver as its senders and its administrator see it."""

    receiver: Receiver
    site: SiteFile
    lines: list[str]

    @property
    def port(self) -> int:
        return self.receiver.address[1]

    @property
    def images(self) -> Path:
        return self.site.path("dicom")

    def files(self) -> list[Path]:
        """Everything in the folder that intake reads."""
        return sorted(path for path in self.images.rglob("*") if path.is_file())

    def spooled(self) -> list[Path]:
        """Objects that are half written."""
        return sorted((self.site.work / "receiving").glob("*.part"))


@contextmanager
def running(folder: Path, *, limits: Limits | None = None, **options: object) -> Iterator[Pacs]:
    """A receiver on a free port of this machine."""
    site, lines = make_site(folder), list[str]()
    chosen = Options(port=0, limits=limits or Limits(), **options)  # type: ignore[arg-type]
    with receiver(site, chosen, lines.append) as found:
        yield Pacs(found, site, lines)
    assert not [line for line in lines if "internal error" in line]


def wait_for(true: Callable[[], object], seconds: float = 10.0) -> None:
    """Wait until something is true."""
    pause = threading.Event()
    for _ in range(int(seconds / 0.01)):
        if true():
            return
        pause.wait(0.01)
    msg = "did not happen in time"
    raise AssertionError(msg)


def make_certificates(folder: Path, *, password: bytes | None = None) -> dict[str, Path]:
    """An authority, and a certificate and key that it signed for 127.0.0.1, all in PEM."""
    import ipaddress

    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec
    from cryptography.x509.oid import NameOID

    folder.mkdir(parents=True, exist_ok=True)
    now = datetime.now(UTC)
    authority_key, key = ec.generate_private_key(ec.SECP256R1()), ec.generate_private_key(ec.SECP256R1())

    def certificate(subject: str, public_key: ec.EllipticCurvePublicKey, *, is_authority: bool) -> x509.Certificate:
        name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, subject)])
        issuer = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "hospital")])
        builder = (
            x509.CertificateBuilder()
            .subject_name(name)
            .issuer_name(issuer)
            .public_key(public_key)
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - timedelta(days=1))
            .not_valid_after(now + timedelta(days=1))
            .add_extension(x509.BasicConstraints(ca=is_authority, path_length=None), critical=True)
            .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]), False)
        )
        return builder.sign(authority_key, hashes.SHA256())

    encryption = serialization.BestAvailableEncryption(password) if password else serialization.NoEncryption()
    pem = serialization.Encoding.PEM
    contents = {
        "ca": certificate("hospital", authority_key.public_key(), is_authority=True).public_bytes(pem),
        "cert": certificate("pacs", key.public_key(), is_authority=False).public_bytes(pem),
        "key": key.private_bytes(pem, serialization.PrivateFormat.PKCS8, encryption),
    }
    files = {name: folder / f"{name}.pem" for name in contents}
    for name, path in files.items():
        path.write_bytes(contents[name])
    return files
