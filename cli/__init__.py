"""Commands, the supervisor of one machine, the demo: the only room that knows all rooms."""

VERSION = "0.1.0"  # as in pyproject.toml
