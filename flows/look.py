"""The look of pictures: the house style, and what a user may choose."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

__all__ = ["Film", "Look"]

# The house style. Both colour maps are monotone in lightness (the diverging one in each arm), so
# that they survive print and colour blindness.
DIVERGING = "#123f7a #2b6cab #6fa9d0 #bcd8e8 #f7f4f0 #f0c9b1 #de9070 #bf5240 #8c1f2c"
SEQUENTIAL = "#f4f6ee #cfe5d5 #93cfc3 #4fb0b5 #2f8aa8 #2f6396 #303d75 #1d1b45"
LINES = ("#1f5f9e", "#c8553d", "#2f9c8f", "#e0a030", "#7a5195", "#5b6770")
INK, CLAY = "#22262b", "#dfe5ec"
CLOTH = {"ambient": 0.42, "diffuse": 0.62, "specular": 0.12, "specular_power": 15}
LIGHTS = {(-1.0, 1.4, 1.6): 0.75, (1.6, 0.3, 1.2): 0.3, (0.3, 1.0, -1.5): 0.3}  # key, fill, back
EM, HEIGHT, WIDTH = 22, 680, 1600  # pixels: the text, the largest height and width of all panels
RC = {"mathtext.fontset": "cm", "axes.formatter.use_mathtext": True, "axes.linewidth": 0.8,
      "axes.formatter.limits": (-3, 4), "axes.spines.top": False, "axes.spines.right": False,
      "figure.constrained_layout.w_pad": 0.2, "figure.constrained_layout.h_pad": 0.2,
      "legend.frameon": False, "lines.linewidth": 2.5, "lines.solid_capstyle": "round"}  # fmt: skip
SUFFIXES = (".png", ".jpg", ".jpeg", ".pdf", ".svg", ".tif", ".tiff", ".webp")
# Cells that DOLFINx calls Lagrange and that are linear: (VTK type, nodes) -> type without curves.
LINEAR = {(68, 2): 3, (69, 3): 5, (70, 4): 9, (71, 4): 10, (72, 8): 12}
VIEWS = {"xy": (0, 0, 1), "xz": (0, -1, 0), "yz": (1, 0, 0), "iso": (1, -1, 0.8)}


@dataclass(frozen=True)
class Look:
    r"""The options of a picture, given by keyword to :func:`plot`, :class:`Reel`, :func:`animate`.

    Attributes:
        field: Name of the field in `flow.fields`; by default the states are drawn.
        cmap: A colour map of matplotlib; by default diverging about 0 for signed fields.
        clim: Lowest and highest value of the colours, for all panels.
        share: One range of colours and one frame for all panels, so that they compare.
        rows: Number of rows in which the panels stand.
        edges: Draw the cells; by default only those of a mesh without a field.
        warp: Draw a scalar in the plane as a graph, raised by this factor or a pleasing one.
        contours: Number of level lines (of level surfaces in volumes).
        clip: Cut a corner out of a volume, to look inside.
        view: ``"xy"``, ``"xz"``, ``"yz"``, ``"iso"``, or the direction towards the eye.
        spin: Degrees by which what is not flat turns from one frame of a film to the next.
        title: One for each panel, or one for all; by default the name and the time of a flow.
        size: Width and height in pixels; by default a page without voids.
        background: A colour of matplotlib; the text is white on a dark one.
        bar: Draw the colour bar.
    """

    field: str | None = None
    cmap: Any = None
    clim: tuple[float, float] | None = None
    share: bool = False
    rows: int = 1
    edges: bool | None = None
    warp: bool | float = False
    contours: int = 0
    clip: bool = True
    view: str | Sequence[float] | None = None
    spin: float = 0.0
    title: str | Sequence[str] | None = None
    size: tuple[int, int] | None = None
    background: str = "white"
    bar: bool = True


@dataclass
class Film:
    """What the frames of a film share: a look, a size, cameras, and ranges that only grow."""

    look: Look
    size: tuple[int, int] | None = None
    ranges: dict[Any, Any] = field(default_factory=dict)
    cameras: dict[Any, Any] = field(default_factory=dict)
    frames: int = 0

    def turned(self, camera: Any) -> Any:
        """A camera that has gone around the vertical, opposite to the spin, up to this frame."""
        angle = -np.radians(self.look.spin * self.frames)
        c, s = np.cos(angle), np.sin(angle)
        return camera @ np.array([[c, s, 0.0], [-s, c, 0.0], [0.0, 0.0, 1.0]])

    def grow(self, key: Any, low: Any, high: Any) -> Any:
        """The range of all frames so far, under a key."""
        old = self.ranges.get(key, (low, high))
        self.ranges[key] = np.array([np.fmin(low, old[0]), np.fmax(high, old[1])])
        return self.ranges[key]
