"""Before training: what a study of these sites can show."""
