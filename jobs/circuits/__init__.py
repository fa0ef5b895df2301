"""Which attention heads matter: their scores, the agents that search for them, and what else finds them."""
