"""The receiver against another implementation of DICOM: dcmtk's echoscu and storescu."""

import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from pacs import make_certificates, make_ct, make_site, running, wait_for
from pydicom.uid import JPEG2000Lossless, RLELossless

from fedescc.client.imaging.headers.header import read_header
from fedescc.client.imaging.headers.index import FolderIndex, index_folder
from fedescc.client.imaging.volumes.series import group_series
from fedescc.client.imaging.volumes.volume import hu_sha256, open_volume, read_slice
from fedescc.client.receiving.options import Peer, TlsFiles

SYNTAXES = {  # file of the WG04 set -> what storescu must propose
    "CT1_JPLL.dcm": "-xs",
    "CT1_JLSL.dcm": "-xt",
    "CT1_JLSN.dcm": "-xu",
    "CT1_J2KR.dcm": "-xv",
    "CT1_J2KI.dcm": "-xw",
    "CT1_RLE.dcm": "-xr",
    "CT1_UNC.explicit_big_endian.dcm": "-xb",
}
SERVER = """
import sys
from pathlib import Path
from fedescc.client.receiving.options import Options
from fedescc.client.receiving.receive import receive
from fedescc.client.site import read_site
receive(read_site(Path(sys.argv[1])), Options(port=0))
"""


@pytest.fixture(scope="module", autouse=True)
def _dcmtk():
    if shutil.which("storescu") is None or shutil.which("echoscu") is None:
        reason = "dcmtk is not installed; on Debian: apt-get install dcmtk"
        if os.environ.get("CI") == "true":
            pytest.fail(reason)
        pytest.skip(reason)


def command(tool: str, port: int, *more: object, called: str = "FEDESCC") -> list[str]:
    """A dcmtk command; options and files follow the address where they are paths."""
    options = [str(one) for one in more if not isinstance(one, Path)]
    files = [str(one) for one in more if isinstance(one, Path)]
    return [str(shutil.which(tool)), "-aet", "PACS", "-aec", called, *options, "127.0.0.1", str(port), *files]


def dcmtk(tool: str, port: int, *more: object, called: str = "FEDESCC") -> subprocess.CompletedProcess[str]:
    done = subprocess.run(
        command(tool, port, *more, called=called), capture_output=True, text=True, timeout=120, check=False
    )
    return subprocess.CompletedProcess(done.args, done.returncode, done.stdout, done.stdout + done.stderr)


def write(folder: Path, count: int, **tags: object) -> list[Path]:
    """A synthetic series as files."""
    folder.mkdir(parents=True, exist_ok=True)
    paths = [folder / f"{k}.dcm" for k in range(1, count + 1)]
    for k, path in enumerate(paths, start=1):
        make_ct(k, **tags).save_as(path, enforce_file_format=True)
    return paths


def series(index: FolderIndex) -> dict[str, tuple[object, ...]]:
    """What intake makes of a folder: verdict, geometry and a hash of every voxel, by series."""
    found = {}
    for one in group_series(index.rows, index.rejected):
        voxels = None if one.reasons else hu_sha256(open_volume(one))
        found[f"{one.uid} {len(one.rows)}"] = (one.reasons, one.warnings, str(one.geometry), voxels)
    return found


def test_echo_and_its_rejection(tmp_path):
    with running(tmp_path, allow=(Peer("PACS", frozenset({"127.0.0.1"})),)) as pacs:
        assert dcmtk("echoscu", pacs.port).returncode == 0
        wrong = dcmtk("echoscu", pacs.port, called="OTHER")
        assert wrong.returncode != 0
        assert "Called AE Title Not Recognized" in wrong.stderr
    with running(tmp_path, allow=(Peer("OTHER"),)) as pacs:
        assert "Calling AE Title Not Recognized" in dcmtk("echoscu", pacs.port).stderr


def test_a_series_comes_through_bit_for_bit_and_again_as_duplicates(tmp_path):
    sent = write(tmp_path / "export", 30, side=64)
    with running(tmp_path) as pacs:
        assert dcmtk("storescu", pacs.port, *sent).returncode == 0
        before = {path: path.read_bytes() for path in pacs.files()}
        assert dcmtk("storescu", pacs.port, *sent).returncode == 0
        assert {path: path.read_bytes() for path in pacs.files()} == before
        assert series(index_folder(pacs.images)) == series(index_folder(tmp_path / "export"))
    assert (pacs.receiver.totals.received, pacs.receiver.totals.duplicates) == (30, 30)
    [(reasons, _, _, voxels)] = series(index_folder(pacs.images)).values()
    assert (reasons, voxels is not None) == ((), True)


def test_a_conflict_is_an_error_that_the_sender_sees(tmp_path):
    [first] = write(tmp_path / "a", 1)
    [second] = write(tmp_path / "b", 1, RescaleIntercept=0)
    with running(tmp_path) as pacs:
        assert dcmtk("storescu", pacs.port, first).returncode == 0
        refused = dcmtk("storescu", pacs.port, "-v", second)
        assert refused.returncode != 0
        assert "CannotUnderstand" in refused.stderr
        [kept] = pacs.files()
        assert int(read_header(str(kept.parent), kept.name).intercept or 0) == -1024


def test_two_senders_at_once(tmp_path):
    sent = [write(tmp_path / name, 40, series=f"1.2.3.{name}", side=64) for name in ("7", "8")]
    with running(tmp_path) as pacs:
        senders = [subprocess.Popen(command("storescu", pacs.port, *paths)) for paths in (*sent, sent[0])]
        assert [sender.wait(60) for sender in senders] == [0, 0, 0]
        assert len(pacs.files()) == 80
    assert (pacs.receiver.totals.received, pacs.receiver.totals.duplicates) == (80, 40)


def test_what_intake_cannot_use_is_not_sent(tmp_path):
    [path] = write(tmp_path / "export", 1, SOPClassUID="1.2.840.10008.5.1.4.1.1.4", Modality="MR")
    with running(tmp_path) as pacs:
        refused = dcmtk("storescu", pacs.port, "-R", path)
        assert refused.returncode != 0
        assert "No Acceptable Presentation Contexts" in refused.stderr
        assert not pacs.files()
    assert pacs.lines[-1].endswith("released: offered nothing that is taken") or pacs.lines[-1].endswith("aborted")


def test_a_sender_that_is_killed_in_the_middle_leaves_nothing(tmp_path):
    sent = write(tmp_path / "export", 1, side=6144)
    with running(tmp_path) as pacs:
        sender = subprocess.Popen(command("storescu", pacs.port, *sent))
        wait_for(pacs.spooled)
        assert sender.poll() is None
        sender.kill()
        sender.wait(10)
        wait_for(lambda: len(pacs.lines) == 2)
        assert not pacs.files() + pacs.spooled()
        assert dcmtk("storescu", pacs.port, *write(tmp_path / "good", 1)).returncode == 0
        assert len(pacs.files()) == 1


def test_storescu_over_tls_needs_a_certificate(tmp_path):
    files = make_certificates(tmp_path / "tls")
    sent = write(tmp_path / "export", 3, side=256)
    with running(tmp_path, tls=TlsFiles(files["cert"], files["key"], files["ca"])) as pacs:
        good = dcmtk(
            "storescu", pacs.port, "+tls", str(files["key"]), str(files["cert"]), "+cf", str(files["ca"]), *sent
        )
        assert good.returncode == 0, good.stderr
        assert len(pacs.files()) == 3
        assert dcmtk("echoscu", pacs.port, "+tla", "-ic").returncode != 0
        assert dcmtk("echoscu", pacs.port, "-ta", "2", "-to", "2").returncode != 0


class Server:
    """A receiver in a process of its own."""

    def __init__(self, folder: Path) -> None:
        make_site(folder)
        self.process = subprocess.Popen(
            [sys.executable, "-c", SERVER, str(folder / "site.yaml")], stderr=subprocess.PIPE, text=True
        )
        assert self.process.stderr is not None
        self.port = int(self.process.stderr.readline().split(" port ")[1].split(",")[0])

    def end(self) -> tuple[int, str]:
        assert self.process.stderr is not None
        text = self.process.stderr.read()
        self.process.stderr.close()
        return self.process.wait(30), text


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_it_when_what_runs_is_stored(tmp_path, number):
    sent = write(tmp_path / "export", 1, side=6144)
    server = Server(tmp_path)
    sender = subprocess.Popen(command("storescu", server.port, *sent))
    wait_for(lambda: list((tmp_path / "work" / "receiving").glob("*.part")))
    assert sender.poll() is None
    server.process.send_signal(number)
    code, text = server.end()
    sender.wait(30)
    assert code == 0
    assert "receive: stopped; 1 received, 0 duplicates, 0 refused" in text
    assert len(list((tmp_path / "dicom").rglob("*.dcm"))) == 1


def test_a_receiver_that_is_killed_leaves_no_half_file_for_intake_and_the_next_one_cleans_up(tmp_path):
    sent = write(tmp_path / "export", 1, side=6144)
    server, spool = Server(tmp_path), tmp_path / "work" / "receiving"
    sender = subprocess.Popen(command("storescu", server.port, *sent), stderr=subprocess.DEVNULL)
    wait_for(lambda: list(spool.glob("*.part")))
    server.process.kill()
    server.end()
    sender.wait(30)
    assert list(spool.glob("*.part"))
    assert not list((tmp_path / "dicom").rglob("*"))
    again = Server(tmp_path)
    assert not list(spool.glob("*.part"))
    assert dcmtk("storescu", again.port, *sent).returncode == 0
    again.process.terminate()
    assert again.end()[0] == 0


@pytest.mark.real_data
@pytest.mark.parametrize(
    "folder", ["sts_019_ct_rtstruct/CT", "siemens_tilt14", "ge_missing_slice", "ge_ct_seg", "ibsi1_lung_ct/mask"]
)
def test_real_series_are_the_same_sent_or_copied(tmp_path, real_data, folder):
    source = real_data / folder
    with running(tmp_path) as pacs:
        done = dcmtk("storescu", pacs.port, "-R", "+sd", "+r", "--scan-pattern", "*.dcm", source)
        assert done.returncode == 0, done.stderr
        received, copied = index_folder(pacs.images), index_folder(source)
    assert series(received) == series(copied)
    assert sorted(mask.kind for mask in received.masks) == sorted(m.kind for m in copied.masks if m.kind != "nrrd")
    assert not received.rejected


@pytest.mark.real_data
@pytest.mark.parametrize(("name", "option"), SYNTAXES.items())
def test_every_encoding_is_stored_as_it_was_sent(tmp_path, real_data, name, option):
    folder = real_data / "wg04_ct1_ge_syntaxes"
    with running(tmp_path) as pacs:
        done = dcmtk("storescu", pacs.port, option, folder / name)
        assert done.returncode == 0, done.stderr
        [path] = pacs.files()
    sent, kept = read_header(str(folder), name), read_header(str(path.parent), path.name)
    assert kept.transfer_syntax == sent.transfer_syntax
    assert np.array_equal(read_slice(kept), read_slice(sent))


@pytest.mark.real_data
def test_the_files_cover_compression_with_and_without_loss(real_data):
    syntaxes = {read_header(str(real_data / "wg04_ct1_ge_syntaxes"), name).transfer_syntax for name in SYNTAXES}
    assert {JPEG2000Lossless, RLELossless, "1.2.840.10008.1.2.4.81", "1.2.840.10008.1.2.2"} <= syntaxes
    assert len(syntaxes) == len(SYNTAXES)
