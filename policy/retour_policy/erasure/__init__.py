"""Erases a person's data everywhere in the store, and keeps their suppression."""
