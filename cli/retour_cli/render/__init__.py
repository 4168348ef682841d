"""Facts, policies and reports as people see them on the terminal."""
