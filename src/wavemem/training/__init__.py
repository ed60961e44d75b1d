"""Training ensembles of independent runs: data streams, curricula, optimiser, progress and device."""
