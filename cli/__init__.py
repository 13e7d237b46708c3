"""Commands, the supervisor of one machine, the demo: the only room that knows all rooms."""
