"""Finds the recipients and replies in running text."""
