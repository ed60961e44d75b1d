"""Experiments: one module per figure or table family of the papers.

Each module holds a frozen dataclass ``Config`` whose ``Config.profile("quick" | "paper")`` names the two sizes at which
the book runs it, a function ``run(config, seed, device)`` that returns rows (one measurement each) and weights, and a
function ``summarise(rows)`` that turns rows into the numbers a chapter shows.
"""
