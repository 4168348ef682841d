"""From a reply to type, status, reason and blame, by code table and rules."""
