"""What must happen outside, queued in the transaction that decides it; the spool of copies."""
