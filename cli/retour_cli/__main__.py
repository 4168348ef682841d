"""Lets `python -m retour_cli` be the command `retour`."""

from retour_cli.main import main

main(prog_name="retour")
