"""Experiments that regenerate the papers' figures and tables.

A module of this package is an experiment, see `wavemem.records.experiment`; modules may hold further ones.
"""

SHARING = {"adding_compared": "adding", "adding_starts": "adding_search", "repeat_copy": "table1"}
"""Experiments that are not modules of their own: name → module in which an `Experiment` of this name is."""
