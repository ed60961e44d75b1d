"""Part III, the Wave-RNN: rings, networks with and without waves, and what they learn to copy, to add and to see."""
