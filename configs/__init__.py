"""Studies and example settings that ship with fedescc."""
