"""Words for people: facts, policies and reports as the terminal shows them."""
