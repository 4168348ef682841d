"""Stamps outgoing mail and refuses suppressed recipients."""
