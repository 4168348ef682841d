"""What happens to one message: sent, returned, unsubscribed, and whose it is."""
