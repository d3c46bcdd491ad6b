"""What intake keeps: parts by patient, the cohort, and the record for local eyes."""
