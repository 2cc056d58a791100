"""One package per framework, each behind the protocol of `protocol.py`. Importing this imports no framework."""
