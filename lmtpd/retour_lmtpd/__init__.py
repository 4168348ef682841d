"""Receives returned mail over LMTP and answers lookups."""
