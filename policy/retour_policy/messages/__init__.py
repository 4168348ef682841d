"""What happens to one message: sent, returned, and whose it is."""
