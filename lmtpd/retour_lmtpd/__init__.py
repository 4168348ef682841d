"""Receives returned mail over LMTP and answers look-ups."""
