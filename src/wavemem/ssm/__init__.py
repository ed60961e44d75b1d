"""Part IV, state-space models: registers, Mamba, waves of any velocity, transformers, and strings to copy."""
