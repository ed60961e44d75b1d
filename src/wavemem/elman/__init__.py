"""Part II, trained Elman networks: the network, its experiments, and the waves that are hidden in it."""
