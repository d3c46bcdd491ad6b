"""A small study and cohorts of blobs."""

from blob_cohorts import clinical_study, imaging_study, make_cohort, make_encoding, make_tensors

__all__ = ["clinical_study", "imaging_study", "make_cohort", "make_encoding", "make_tensors"]
