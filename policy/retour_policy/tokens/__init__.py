"""Keys, tokens, and the patterns of VERP addresses."""
