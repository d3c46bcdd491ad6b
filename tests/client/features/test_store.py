"""Features as columns of a cohort: measured once, kept safely, never stale."""

import os
import signal
import stat
import subprocess
import sys
import textwrap
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from bed_scans import GRID, ball_scene, cohort, imaging

from fedescc.client.cohort import SiteCohort
from fedescc.client.features import radiomics, store
from fedescc.client.features.named import named_columns
from fedescc.client.features.store import with_features
from fedescc.common.errors import Refusal
from fedescc.common.tabular.features import NAMED_FEATURES

NAMES = ("tumour_volume_change", "tumour_hu_post")


@pytest.fixture
def site() -> SiteCohort:
    return cohort([(ball_scene(10), ball_scene(6)), (ball_scene(9), ball_scene(8))])


@pytest.fixture
def measured(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What was measured anew, a word a patient."""
    seen: list[str] = []

    def watch(images, rois, settings, advance):
        return named_columns(images, rois, settings, lambda: (seen.append("named"), advance()))

    monkeypatch.setitem(store._FAMILIES, "named", store._FAMILIES["named"]._replace(measure=watch))
    monkeypatch.setattr(store, "_memory", {})
    return seen


def test_the_columns_join_the_cohorts_own(site: SiteCohort) -> None:
    found = with_features(site, NAMES, imaging(), None)
    assert set(found.numeric) == {"age", *NAMES}
    expected = named_columns(site.images, site.rois, imaging(), lambda: None)
    for name in NAMES:
        np.testing.assert_array_equal(found.numeric[name], expected[name])
    assert set(site.numeric) == {"age"}
    assert found.keys == site.keys
    assert found.images is site.images


def test_radiomic_and_named_features_go_together(site: SiteCohort) -> None:
    found = with_features(site, ["morph_volume_change", "tumour_volume_change"], imaging(), None)
    np.testing.assert_allclose(found.numeric["morph_volume_change"], found.numeric["tumour_volume_change"], atol=0.15)


def test_without_names_nothing_is_measured(site: SiteCohort, measured: list[str]) -> None:
    clinical = replace(site, images=None, rois=None)
    assert with_features(clinical, (), imaging(), None).numeric.keys() == {"age"}
    assert measured == []


def test_an_unknown_name_is_refused(site: SiteCohort) -> None:
    with pytest.raises(Refusal, match="tumour_colour") as refused:
        with_features(site, ["tumour_volume_pre", "tumour_colour"], imaging(), None)
    assert refused.value.code == "unknown-feature"


def test_a_cohort_without_images_is_refused(site: SiteCohort) -> None:
    with pytest.raises(Refusal) as refused:
        with_features(replace(site, images=None, rois=None), NAMES, imaging(), None)
    assert refused.value.code == "no-images"


@pytest.mark.parametrize("kind", ["numeric", "categorical"])
def test_a_variable_of_the_same_name_is_not_overwritten(site: SiteCohort, kind: str) -> None:
    taken = replace(site, **{kind: {NAMES[0]: np.zeros(2)}})
    with pytest.raises(Refusal) as refused:
        with_features(taken, NAMES, imaging(), None)
    assert refused.value.code == "feature-is-covariate"


def test_without_mirp_radiomic_features_are_refused(site: SiteCohort, monkeypatch: pytest.MonkeyPatch) -> None:
    def absent(name: str) -> str:
        raise radiomics.PackageNotFoundError(name)

    monkeypatch.setattr(radiomics, "version", absent)
    with pytest.raises(Refusal, match=r"fedescc\[radiomics\]"):
        with_features(site, ["stat_mean_post"], imaging(), None)
    assert with_features(site, NAMES, imaging(), None).numeric.keys() > set(NAMES)


def test_values_are_bounded_and_what_is_not_finite_is_missing(
    site: SiteCohort, measured: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def wild(images, rois, settings, advance):
        columns = {name: np.array([1e9, -1e9]) for name in NAMED_FEATURES}
        return columns | {"fat_stranding_pre": np.array([np.inf, -np.inf]), "edge_sharpness_pre": np.array([np.nan, 3])}

    monkeypatch.setitem(store._FAMILIES, "named", store._FAMILIES["named"]._replace(measure=wild))
    found = with_features(site, list(NAMED_FEATURES), imaging(), None).numeric
    for name, variable in NAMED_FEATURES.items():
        low, high = variable.range
        if name == "fat_stranding_pre":
            assert np.isnan(found[name]).all()
        elif name == "edge_sharpness_pre":
            np.testing.assert_array_equal(found[name], [np.nan, 3])
        else:
            assert found[name].tolist() == [high, low], name


@pytest.mark.parametrize("where", ["memory", "disk"])
def test_the_same_cohort_is_measured_once(site: SiteCohort, measured: list[str], tmp_path: Path, where: str) -> None:
    folder = None if where == "memory" else tmp_path / "features"
    first = with_features(site, NAMES, imaging(), folder)
    again = with_features(replace(site, split=np.array(["test"] * 2)), NAMES[:1], imaging(), folder)
    assert len(measured) == 2
    np.testing.assert_array_equal(first.numeric[NAMES[0]], again.numeric[NAMES[0]])


def changed_image(site: SiteCohort) -> SiteCohort:
    images = site.images.copy()
    images[1, 1, 20, 20, 20] = 0.3
    return replace(site, images=images)


def changed_roi(site: SiteCohort) -> SiteCohort:
    rois = site.rois.copy()
    rois[0, 0, 20, 20, 20] = 0
    return replace(site, rois=rois)


CHANGES = {
    "image": (changed_image, imaging()),
    "roi": (changed_roi, imaging()),
    "patients": (lambda site: replace(site, keys=("a", "b")), imaging()),
    "window": (lambda site: site, imaging(grid=GRID.model_copy(update={"window_hu": (-150.0, 300.0)}))),
}


@pytest.mark.parametrize("where", ["memory", "disk"])
@pytest.mark.parametrize("change", CHANGES)
def test_what_has_changed_is_measured_anew(
    site: SiteCohort, measured: list[str], tmp_path: Path, change: str, where: str
) -> None:
    folder = None if where == "memory" else tmp_path
    with_features(site, NAMES, imaging(), folder)
    alter, settings = CHANGES[change]
    found = with_features(alter(site), NAMES, settings, folder)
    assert len(measured) == 4
    fresh = named_columns(alter(site).images, alter(site).rois, settings, lambda: None)
    np.testing.assert_array_equal(found.numeric[NAMES[1]], fresh[NAMES[1]])


def test_a_mapped_cohort_is_known_by_its_files(site: SiteCohort, measured: list[str], tmp_path: Path) -> None:
    def mapped() -> SiteCohort:
        arrays = {}
        for name in ("images", "rois"):
            path = tmp_path / f"{name}.npy"
            if not path.exists():
                np.save(path, getattr(site, name))
            arrays[name] = np.load(path, mmap_mode="r")
        return replace(site, **arrays)

    with_features(mapped(), NAMES, imaging(), tmp_path)
    with_features(mapped(), NAMES, imaging(), tmp_path)
    assert len(measured) == 2
    part = mapped()
    with_features(replace(part, images=part.images[:1], rois=part.rois[:1], keys=part.keys[:1]), NAMES, imaging(), None)
    assert len(measured) == 3
    (tmp_path / "images.npy").unlink()
    with_features(mapped(), NAMES, imaging(), tmp_path)
    assert len(measured) == 5


def test_another_version_measures_anew(
    site: SiteCohort, measured: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with_features(site, NAMES, imaging(), tmp_path)
    monkeypatch.setattr(store, "version", lambda _: "99")
    with_features(site, NAMES, imaging(), tmp_path)
    assert len(measured) == 4


def test_the_file_is_for_its_owners_eyes_and_names_nobody(site: SiteCohort, tmp_path: Path) -> None:
    folder = tmp_path / "features"
    with_features(site, NAMES, imaging(), folder)
    (file,) = folder.iterdir()
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert not any(key.encode() in file.read_bytes() for key in site.keys)


def test_only_the_last_cohorts_values_stay(site: SiteCohort, tmp_path: Path) -> None:
    """A patient who was withdrawn must not stay on beside the others."""
    with_features(site, NAMES, imaging(), tmp_path)
    with_features(changed_image(site), NAMES, imaging(), tmp_path)
    assert len(list(tmp_path.iterdir())) == 1


DAMAGE = {
    "empty": lambda _: b"",
    "half": lambda content: content[: len(content) // 2],
    "other": lambda _: b"PK\x03\x04 no archive",
    "flipped": lambda content: content[:3000] + bytes([content[3000] ^ 0xFF]) + content[3001:],
}


@pytest.mark.parametrize("damage", DAMAGE)
def test_a_damaged_file_is_measured_anew(site: SiteCohort, measured: list[str], tmp_path: Path, damage: str) -> None:
    first = with_features(site, list(NAMED_FEATURES), imaging(), tmp_path)
    (file,) = tmp_path.iterdir()
    file.write_bytes(DAMAGE[damage](file.read_bytes()))
    again = with_features(site, list(NAMED_FEATURES), imaging(), tmp_path)
    np.testing.assert_equal(again.numeric, first.numeric)
    assert len(measured) == 4
    with_features(site, NAMES, imaging(), tmp_path)
    assert len(measured) == 4


def test_a_file_with_pickled_objects_is_never_loaded(site: SiteCohort, measured: list[str], tmp_path: Path) -> None:
    with_features(site, NAMES, imaging(), tmp_path)
    (file,) = tmp_path.iterdir()
    np.savez(file, key=np.array({"a": print}, dtype=object))
    with_features(site, NAMES, imaging(), tmp_path)
    assert len(measured) == 4


@pytest.mark.parametrize("column", [np.zeros(3), np.zeros(2, np.float32)], ids=["length", "type"])
def test_columns_of_another_shape_or_type_are_measured_anew(
    site: SiteCohort, measured: list[str], tmp_path: Path, column: np.ndarray
) -> None:
    with_features(site, NAMES, imaging(), tmp_path)
    (file,) = tmp_path.iterdir()
    with np.load(file) as stored:
        content = {**stored, NAMES[0]: column}
    np.savez(file, **content)
    assert with_features(site, NAMES, imaging(), tmp_path).numeric[NAMES[0]].shape == (2,)
    assert len(measured) == 4


def test_a_folder_that_cannot_be_made_is_a_refusal(site: SiteCohort, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(Refusal) as refused:
        with_features(site, NAMES, imaging(), tmp_path / "file")
    assert refused.value.code == "cannot-keep-features"


def test_memory_holds_a_bounded_number_of_cohorts(measured: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(store, "_IN_MEMORY", 2)
    sites = [cohort([(ball_scene(10), ball_scene(radius))]) for radius in (5, 6, 7)]
    for one in sites:
        with_features(one, NAMES, imaging(), None)
    assert len(store._memory) == 2
    with_features(sites[2], NAMES, imaging(), None)
    assert len(measured) == 3
    with_features(sites[0], NAMES, imaging(), None)
    assert len(measured) == 4


def test_progress_counts_every_patient(site: SiteCohort, measured: list[str]) -> None:
    said: list[object] = []

    @contextmanager
    def opened(description: str, total: int):
        said.append((description, total))
        yield lambda: said.append(1)

    with_features(site, NAMES, imaging(), None, opened)
    assert said == [("named image features", 2), 1, 1]


def test_a_process_that_is_killed_while_it_writes_leaves_old_or_new(tmp_path: Path, repository: Path) -> None:
    script = textwrap.dedent("""
        import sys
        from pathlib import Path
        from dataclasses import replace
        sys.path.insert(0, sys.argv[2])
        from bed_scans import ball_scene, cohort, imaging
        from fedescc.client.features.store import with_features
        site = cohort([(ball_scene(6), ball_scene(4))])
        print("ready", flush=True)
        for number in range(100_000):
            with_features(replace(site, keys=(str(number),)), ["tumour_hu_pre"], imaging(), Path(sys.argv[1]))
    """)
    command = [sys.executable, "-c", script, str(tmp_path), str(repository / "tests" / "support")]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        file = tmp_path / "features-named.npz"
        while not file.exists():
            assert process.poll() is None
        os.kill(process.pid, signal.SIGKILL)
    with file.open("rb") as opened, np.load(opened) as stored:
        assert set(stored.files) == {"key", *NAMED_FEATURES}
