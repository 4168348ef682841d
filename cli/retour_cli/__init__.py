"""The postmaster's command `retour`, and the process that runs each service."""
