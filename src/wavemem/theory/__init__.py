"""Part I, the theory: waves on a lattice, boundaries, bases, spectra, gradients, attention, and the systems that they run."""
