"""What must be remembered: history-dependent systems, their inputs and their phases."""
