"""Strategies compared under heterogeneity, on synthetic patients, so that one is chosen on evidence."""
