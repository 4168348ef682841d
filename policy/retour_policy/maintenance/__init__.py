"""What a postmaster asks for: rebuild, simulate, undo, purge, lists in and out."""
