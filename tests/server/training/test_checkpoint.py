"""A stopped run ends with the bits of one that was not stopped, and goes on from nothing but its own checkpoint."""

import json

import numpy as np
import pytest
from round_sites import START, STUDY, RoundSites, at, delta_of

from fedescc.common.arrays import load_safetensors, save_safetensors
from fedescc.common.errors import Refusal
from fedescc.common.statistics.metrics import EvaluationSums
from fedescc.common.statistics.roc import ClassHistogram
from fedescc.common.strategy import STRATEGIES
from fedescc.common.wire import Request
from fedescc.server.exchange import Attendance
from fedescc.server.replies import SplitShare
from fedescc.server.strategies.state import ServerState
from fedescc.server.training.checkpoint import Checkpoints
from fedescc.server.training.progress import Progress, RoundRecord
from fedescc.server.training.records import from_entry, to_entry

TASK = {"run": "ab" * 8, "fold": {"mode": "kfold", "index": 2, "of": 5}, "federation": {"rounds": 4, "seed": 0}}


class StoppedError(Exception):
    """Stands for a killed process."""


def checkpoints(folder, study=STUDY, more=None, **task):
    return Checkpoints(folder, Request(study, {**TASK, **task}), more or {})


def progress(**changes):
    attendance = Attendance(3, 3, 2, ["a", "b"], {"c": "no-answer-in-time"})
    sums = EvaluationSums(9, 4, 3, 1, 4, 1, 1.1, 1 / 3)
    histogram = ClassHistogram(np.array([3, 2]), np.array([0, 4]))
    shares = {
        "a": SplitShare(sums, histogram, {"auc": 0.1 + 0.2}),
        "b": SplitShare(None, None, {}, {"n": "below-minimum"}),
    }
    record = RoundRecord(1, attendance, 0.1 + 0.7, 19, 2.5, shares)
    slots = {"m": np.array([1 / 3, -0.0, 5e-324]), "v": np.array([1e300, 0.0, 2.0])}
    state = ServerState(np.array([1.5, -0.0, 1e-42], np.float32), slots, 1)
    return Progress(**{"run": "ab" * 8, "state": state, "records": (record,), "best_weights": START, **changes})


def bits(state):
    return state.round, state.weights.tobytes(), {name: (s.dtype, s.tobytes()) for name, s in state.slots.items()}


def without_seconds(records):
    return json.dumps([{**to_entry(record), "seconds": 0} for record in records])


def test_everything_comes_back_to_the_bit(tmp_path):
    saved, store = progress(), checkpoints(tmp_path / "new" / "folder")
    assert store.load() is None
    store.save(saved)
    loaded = store.load()
    assert bits(loaded.state) == bits(saved.state)
    assert loaded.run == saved.run
    assert loaded.best_weights.tobytes() == START.tobytes()
    assert json.dumps([to_entry(r) for r in loaded.records]) == json.dumps([to_entry(r) for r in saved.records])
    assert isinstance(loaded.records[0].validation["a"].sums, EvaluationSums)
    assert loaded.records[0].validation["a"].histogram.positives.dtype == np.int64
    assert loaded.records[0].attendance == saved.records[0].attendance
    store.save(progress(best_weights=None))
    assert store.load().best_weights is None


def test_a_record_of_another_shape_is_no_record():
    entry = json.loads(json.dumps(to_entry(progress().records[0])))
    with pytest.raises(TypeError):
        from_entry({**entry, "patient": 1})


def stopped(sites, store, after, shuffle=None, **settings):
    """Run until round ``after`` is saved, then die."""

    def die(record, state):
        if record.round == after:
            raise StoppedError

    with pytest.raises(StoppedError):
        sites.run(save=store.save, on_round=die, shuffle=shuffle, **settings)


@pytest.mark.parametrize("name", STRATEGIES)
def test_a_resumed_run_ends_as_one_that_was_never_stopped(tmp_path, name):
    settings = {"strategy": {"name": name}, "selection": {"keep": "best"}, "task": {"scaffold": name == "scaffold"}}
    whole, sites = RoundSites(5), RoundSites(5)
    for either in (whole, sites):
        either.overshoot = {4: -1.0}  # so that model 3, from before the second stop, is the one to keep
    expected = whole.run(rounds=5, **settings)
    store = Checkpoints(tmp_path, Request(STUDY, {"federation": settings}))
    stopped(sites, store, 2, rounds=5, **settings)
    first = store.load()
    assert first.state.round == 2
    with pytest.raises(StoppedError):  # killed again: in the middle of round 5, after the sites have trained
        sites.run(rounds=5, resume=first, save=_saves_until(4, store), **settings)
    second = store.load()
    assert second.state.round == 4
    ended = sites.run(rounds=5, resume=second, shuffle=3, **settings)
    assert bits(ended.progress.state) == bits(expected.progress.state)
    assert ended.kept == expected.kept
    assert ended.weights.tobytes() == expected.weights.tobytes()
    assert ended.losses == expected.losses
    assert without_seconds(ended.progress.records) == without_seconds(expected.progress.records)
    assert sites.runs == {first.run}


def _saves_until(last, store):
    def save(progress):
        if progress.state.round > last:
            raise StoppedError
        store.save(progress)

    return save


def test_a_resumed_run_stops_where_its_patience_ends():
    whole = RoundSites()
    whole.overshoot = dict.fromkeys(range(2, 9), -1.0)
    settings = {"rounds": 9, "selection": {"keep": "best", "patience": 2}}
    expected = whole.run(**settings)
    assert expected.progress.state.round == 4
    again = whole.run(resume=expected.progress, **settings)
    assert again.progress is expected.progress
    assert again.kept == expected.kept


def test_rounds_done_before_are_not_told_again(tmp_path):
    sites, store, told = RoundSites(), checkpoints(tmp_path), []
    stopped(sites, store, 2)
    trained = sites.run(resume=store.load(), on_round=lambda record, state: told.append(record.round))
    assert told == [3, 4]
    assert [record.round for record in trained.progress.records] == [1, 2, 3, 4]


@pytest.mark.parametrize("step", ["pathlib.Path.replace", "os.fsync", "safetensors.numpy.save"])
def test_killed_while_writing_the_old_checkpoint_stays(tmp_path, monkeypatch, step):
    store = checkpoints(tmp_path)
    store.save(progress())

    def die(*arguments, **more):
        raise StoppedError

    later = progress(state=ServerState(START, {}, 2))
    with monkeypatch.context() as patched:
        patched.setattr(step, die)
        with pytest.raises(StoppedError):
            store.save(later)
    assert store.load().state.round == 1


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"study": "other"}, "study"),
        ({"federation": {"rounds": 5, "seed": 0}}, "federation.rounds"),
        ({"federation": {"rounds": 4, "seed": 0, "mu": 1}}, "federation.mu"),
        ({"fold": {"mode": "kfold", "index": 3, "of": 5}}, "fold.index"),
        ({"fold": {"mode": "loso", "held_out": "a"}}, "fold.held_out, fold.index, fold.mode, fold.of"),
        ({"run": "cd" * 8}, "run"),
        ({"encoding": {"columns": []}}, "encoding.columns"),
        ({"more": {"start": "digest"}}, "start"),
    ],
)
def test_another_runs_checkpoint_is_refused_and_the_difference_named(tmp_path, change, named):
    checkpoints(tmp_path).save(progress())
    with pytest.raises(Refusal, match="checkpoint-of-another-run") as refusal:
        checkpoints(tmp_path, **change).load()
    assert f"differs in: {named} [" in str(refusal.value)


def test_another_version_is_another_run(tmp_path, monkeypatch):
    checkpoints(tmp_path).save(progress())
    monkeypatch.setattr("fedescc.server.training.checkpoint.installed_version", lambda: "99")
    with pytest.raises(Refusal, match="differs in: version"):
        checkpoints(tmp_path).load()


def test_many_differences_are_counted(tmp_path):
    checkpoints(tmp_path).save(progress())
    with pytest.raises(Refusal, match="a0, a1, a2, a3, a4 and 3 more"):
        checkpoints(tmp_path, more={f"a{i}": i for i in range(8)}).load()


@pytest.mark.parametrize(
    "damage",
    [
        lambda arrays, metadata: metadata.pop("format"),
        lambda arrays, metadata: metadata.update(format="fedescc-model-1"),
        lambda arrays, metadata: metadata.pop("identity"),
        lambda arrays, metadata: metadata.update(identity="[]"),
        lambda arrays, metadata: metadata.update(records="{"),
        lambda arrays, metadata: metadata.update(records='[{"round": 1}]'),
        lambda arrays, metadata: metadata.update(round="x"),
        lambda arrays, metadata: metadata.pop("run"),
        lambda arrays, metadata: arrays.pop("weights"),
    ],
)
def test_a_damaged_checkpoint_is_refused(tmp_path, damage):
    store = checkpoints(tmp_path)
    store.save(progress())
    arrays, metadata = load_safetensors(store.path)
    damage(arrays, metadata)
    save_safetensors(store.path, arrays, metadata)
    with pytest.raises(Refusal, match="damaged-checkpoint"):
        store.load()


def test_a_cut_file_is_refused(tmp_path):
    store = checkpoints(tmp_path)
    store.save(progress())
    store.path.write_bytes(store.path.read_bytes()[:-7])
    with pytest.raises(Refusal, match="unreadable-weights"):
        store.load()


def test_a_folder_that_cannot_be_made_is_refused(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(Refusal, match="unwritable-checkpoint"):
        checkpoints(tmp_path / "file").save(progress())


def test_a_lost_site_is_remembered_over_a_stop(tmp_path):
    sites, store = RoundSites(), checkpoints(tmp_path)
    sites.changes["site-1", 1] = delta_of(at(0, np.inf))
    stopped(sites, store, 1)
    trained = sites.run(resume=store.load())
    assert trained.progress.records[0].attendance.refused == {"site-1": "update-not-finite"}
