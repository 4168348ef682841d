"""Findings: what is wrong with an installation and the mail server beside it, and what mends it."""
