"""Who runs the workers of a study: this machine, or a cluster's scheduler."""
