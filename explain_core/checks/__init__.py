"""What stops a result before it is returned, and what is said of one that is complete and may be absurd."""
