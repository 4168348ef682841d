"""Configuration, tokens, the store, and every decision about an address."""
