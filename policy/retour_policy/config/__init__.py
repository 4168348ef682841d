"""The configuration file: its model, how it is loaded, what contradicts what, the secrets it names."""
