"""The web service: pages on which people unsubscribe, and the address that their mail programs POST to (RFC 8058)."""
