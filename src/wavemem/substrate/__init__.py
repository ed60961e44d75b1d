"""The theory of travelling-wave memory: waves on a lattice, boundaries, bases, spectra, and readings of activity."""
