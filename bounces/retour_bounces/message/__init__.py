"""A message's parts, text, addresses and the original in it, as far as they can be read."""
