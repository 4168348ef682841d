"""Carries out what was decided: hooks, forwards, resends."""
