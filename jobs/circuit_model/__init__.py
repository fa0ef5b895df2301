"""The circuits model: a small GPT-2 that does the tasks of circuit discovery, trained from scratch here."""
