r"""Tangential motion of the nodes of a surface: it changes the mesh, not the shape.

A flow of surfaces says how nodes move along the normals. What they do along the surface is a choice
of its own, and decides whether the mesh stays good.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import override

from flows.slip import Slip
from flows.surface import Surface

__all__ = ["Free", "NormalOnly", "Redistribute", "Tangential"]


class Tangential:
    """A rule for the tangential motion of nodes.

    Attributes:
        costly: Whether tangential velocities cost as much as normal ones: then there are none, up
            to the error of the mesh.
    """

    costly: bool = False

    def slip(self, surface: Surface) -> Slip | None:
        """The slip of nodes before each step, if there is one."""
        return None


@dataclass(frozen=True)
class Free(Tangential):
    r"""Tangential motion costs nothing, and the energy of the immersion uses it.

    In each step nodes take the places that make the immersion harmonic along the surface: angles
    stay good up to the last moment, at no price {cite}`barrett2008`.
    """


@dataclass(frozen=True)
class NormalOnly(Tangential):
    """Nodes move along the normals, and crowd where the surface shrinks {cite}`dziuk1991`."""

    costly = True


@dataclass(frozen=True)
class Redistribute(Tangential):
    r"""Nodes move along the normals, and slip before each step so that cells become equilateral.

    The slip is :class:`flows.slip.Slip`. Since it leaves curved surfaces along their tangents it
    may add area, but no more than half of what the step will take.

    Args:
        strength: Longest way of a node in one slip, in mean sizes of a cell.
    """

    strength: float = 0.3
    costly = True

    @override
    def slip(self, surface: Surface) -> Slip:
        return Slip(surface, self.strength)
