"""Single questions behind a default; each script prints its table."""
