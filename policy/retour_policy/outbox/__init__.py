"""Work outside the database, queued in the transaction that decides it; the spool of copies."""
