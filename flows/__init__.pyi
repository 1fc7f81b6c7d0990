from . import diagnostics, energy, maps, mesh, mobility, tangential, transport
from .boundary import FixedEdge, PlaneEdge
from .catalogue import (
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
from .checkpoint import load, save
from .checks import check
from .cite import citation
from .constraint import MeanValue, Volume
from .control import Adaptive, Fixed, Relax
from .dofs import noise
from .evolution import Finished, History, evolve
from .flow import Event, StepFailed, StepReport
from .geometric import harmonic_map, mean_curvature, ricci, surface_diffusion, willmore
from .grains import voronoi
from .metric import KL, L2, Dissipation, FisherRao, HMinus1, Onsager, Wasserstein
from .movement import GradientFlow
from .observe import Checkpoint, Movie, Observer, Picture, Progress, Stop
from .picture import animate, curves, plot, snapshot
from .reactions import Reaction
from .recorder import Recorder, reaction
from .scheme import AVF, BDF2, JKO, ConvexSplitting, ImplicitEuler, MinimizingMovement
from .spectrum import Stability, stability
from .stochastic import WhiteNoise
from .watched import Remesh
from .weak import WeakFlow
from .writer import Writer

__version__: str

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
