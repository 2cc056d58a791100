"""The recurrences of paired cells, compiled; each does what `explain_core.rules` says."""
