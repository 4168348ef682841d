"""The lists of phrases, normalised and searched in one pass."""
