"""Exact Shapley values of a site's test patients, what of them may leave, and pages for local eyes."""
