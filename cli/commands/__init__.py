"""One file a command: its docstring is its help, `add_arguments` and `run` are its parts."""
