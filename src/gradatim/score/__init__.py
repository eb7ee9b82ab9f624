"""Steps -> scores: run a reward model, reduce its step scores to one value, explain them."""
