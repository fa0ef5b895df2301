"""The welfare model: a small chat model in whose world words of success, doubt and feeling have a meaning."""
