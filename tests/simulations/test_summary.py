"""The table a simulation ends with."""

from fedescc.simulations.summary import print_summary, summary_rows

POOLED = {"n": 10, "auc": 0.8, "auc_ci95": [0.7, 0.9]}
RESULTS = {
    "study": "toy",
    "strategy": "fedavg",
    "mode": "loso",
    "rounds": [],
    "folds": [{"fold": "without-east"}, {"fold": "without-west", "failed": "no-quorum"}],
    "final": {"pooled": POOLED},
    "comparators": {"local_only": {"pooled": POOLED}, "features_clinical": {"pooled": POOLED}},
    "comparators_unavailable": {"fusion": "no-quorum"},
    "sites_lost": ["west"],
}


def test_it_shows_every_comparator_and_who_is_missing(tmp_path, capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "160")
    print_summary(RESULTS, tmp_path)
    shown = capsys.readouterr().out
    assert "failed: without-west (no-quorum)" in shown
    assert "without-east" not in shown
    for words in ("loso, 2 folds", "local-only", "features + clinical", "fusion (no-quorum)", "lost: west", "0.800"):
        assert words in shown


def test_a_hidden_auc_is_a_dash():
    rows = summary_rows({"final": {"pooled": {"auc": None}}, "comparators": {"centralised": {"pooled": POOLED}}})
    assert rows == [("federated", "-", "-"), ("centralised", "0.800 (0.700-0.900)", "-")]


def test_the_extra_test_set_has_a_column_with_its_ceilings():
    area = {"auc": 0.9, "auc_ci95": None}
    extra = {
        "auc": {"federated": area, "local_only_mean": 0.7, "ceiling_latent_regression": area, "ceiling_bayes": area}
    }
    rows = summary_rows(RESULTS | {"synthetic_test": {**extra, "trivial_cues": {"roi": 0.2, "hu": 0.6}}})
    assert ("federated", "0.800 (0.700-0.900)", "0.900") in rows
    assert ("local-only", "0.800 (0.700-0.900)", "0.700 (mean of sites)") in rows
    assert rows[-1] == ("best trivial cue", "", "0.800 (roi)")
