"""A start of the installed engine before the download: a tiny twin, or the real sizes with random weights."""
