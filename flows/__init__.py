"""Gradient flows with finite elements: state a state, an energy and a metric, and run.

>>> import flows  # first: it puts the imports of DOLFINx, PETSc and MPI in order
>>> flow = flows.GradientFlow(energy, state, metric)
>>> history = flows.evolve(flow, until=1.0, tau=flows.Adaptive(1e-3))
"""

from flows import _boot  # isort: split

import logging

import lazy_loader

__version__ = "0.1.0"

# Names are in __init__.pyi, and their modules are loaded when they are asked for.
__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)

logging.getLogger(__name__).addHandler(logging.NullHandler())
del _boot, lazy_loader, logging
