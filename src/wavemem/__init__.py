"""Working memory as travelling waves: a substrate on which activity moves, and a boundary that writes into it.

The library under the executable book *Waves of Working Memory*. Import the module that holds what you need, for
instance ``from wavemem.theory.hds import LinearHDS``: no package re-exports anything, so that what a chapter depends
on can be read from its import lines.
"""
