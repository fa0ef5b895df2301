"""The reference model: a small Llama that does reinforcement learning in context, trained from scratch here."""
