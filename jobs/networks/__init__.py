"""Deep Q networks: the agents of tasks that are seen as numbers, not read as text."""
