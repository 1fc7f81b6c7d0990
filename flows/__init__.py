"""Gradient flows with finite elements: state a state, an energy and a metric, and run.

>>> import flows  # first: it puts the imports of DOLFINx, PETSc and MPI in order
>>> flow = flows.GradientFlow(energy, state, metric)
>>> history = flows.evolve(flow, until=1.0, tau=flows.Adaptive(1e-3))
"""

from flows import _boot  # isort: split

import logging

from flows import diagnostics, energy, maps, mesh, mobility, tangential, transport
from flows.boundary import FixedEdge, PlaneEdge
from flows.catalogue import (
    aggregation,
    allen_cahn,
    cahn_hilliard,
    fokker_planck,
    grain_growth,
    graph_area,
    heat,
    heat_entropy,
    porous_medium,
    reaction_diffusion,
    thin_film,
)
from flows.check import check
from flows.checkpoint import load, save
from flows.cite import citation
from flows.constraint import MeanValue, Volume
from flows.control import Adaptive, Fixed, Relax
from flows.dofs import noise
from flows.evolution import Finished, History, evolve
from flows.flow import Event, StepFailed, StepReport
from flows.geometric import harmonic_map, mean_curvature, ricci, surface_diffusion, willmore
from flows.grains import voronoi
from flows.metric import KL, L2, Dissipation, FisherRao, HMinus1, Onsager, Wasserstein
from flows.movement import GradientFlow
from flows.observe import Checkpoint, Movie, Observer, Picture, Progress, Stop
from flows.picture import animate, curves, plot, snapshot
from flows.reactions import Reaction
from flows.recorder import Recorder, reaction
from flows.scheme import AVF, BDF2, JKO, ConvexSplitting, ImplicitEuler, MinimizingMovement
from flows.stability import Stability, stability
from flows.stochastic import WhiteNoise
from flows.watched import Remesh
from flows.weak import WeakFlow
from flows.writer import Writer

__version__ = "0.1.0"

__all__ = [
    "AVF",
    "BDF2",
    "JKO",
    "KL",
    "L2",
    "Adaptive",
    "Checkpoint",
    "ConvexSplitting",
    "Dissipation",
    "Event",
    "Finished",
    "FisherRao",
    "Fixed",
    "FixedEdge",
    "GradientFlow",
    "HMinus1",
    "History",
    "ImplicitEuler",
    "MeanValue",
    "MinimizingMovement",
    "Movie",
    "Observer",
    "Onsager",
    "Picture",
    "PlaneEdge",
    "Progress",
    "Reaction",
    "Recorder",
    "Relax",
    "Remesh",
    "Stability",
    "StepFailed",
    "StepReport",
    "Stop",
    "Volume",
    "Wasserstein",
    "WeakFlow",
    "WhiteNoise",
    "Writer",
    "aggregation",
    "allen_cahn",
    "animate",
    "cahn_hilliard",
    "check",
    "citation",
    "curves",
    "diagnostics",
    "energy",
    "evolve",
    "fokker_planck",
    "grain_growth",
    "graph_area",
    "harmonic_map",
    "heat",
    "heat_entropy",
    "load",
    "maps",
    "mean_curvature",
    "mesh",
    "mobility",
    "noise",
    "plot",
    "porous_medium",
    "reaction",
    "reaction_diffusion",
    "ricci",
    "save",
    "snapshot",
    "stability",
    "surface_diffusion",
    "tangential",
    "thin_film",
    "transport",
    "voronoi",
    "willmore",
]

logging.getLogger(__name__).addHandler(logging.NullHandler())
del _boot, logging
