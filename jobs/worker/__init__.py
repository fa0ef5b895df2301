"""What computes units: the loop that claims, computes and publishes, and the processes around it."""
