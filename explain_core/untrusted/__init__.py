"""Reading files that nobody vouches for: archives and JSON of bounded size, and damage as typed errors."""
