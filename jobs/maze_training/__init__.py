"""Training a language model in the maze of :mod:`envs.maze`: by reinforcement, or on the best trajectories."""
