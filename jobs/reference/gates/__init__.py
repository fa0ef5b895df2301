"""The gates of the reference model: one task a module, each of which gives rows of the evaluation."""
