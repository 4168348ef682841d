"""One reader for each form that returned mail has."""
