"""Values of functionals that are asked for again and again."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from flows.forms import compiled, integrate

import numpy as np
import numpy.typing as npt
import ufl
from mpi4py import MPI

__all__ = ["Functional", "Inputs", "Values"]


class Inputs:
    """The constants and functions that forms read; notices when their values change.

    Args:
        forms: The forms.
        comm: The ranks that must agree.
    """

    def __init__(self, forms: Sequence[ufl.Form], comm: MPI.Comm) -> None:
        self._comm = comm
        self._constants = list(dict.fromkeys(c for form in forms for c in form.constants()))
        self._functions = list(dict.fromkeys(f for form in forms for f in form.coefficients()))
        self._seen: list[npt.NDArray[np.floating]] | None = None

    def forget(self) -> None:
        """Take the values as changed at the next occasion."""
        self._seen = None

    def changed(self) -> bool:
        """Whether values differ from what they were at the last call; equal on all ranks."""
        now = [np.asarray(c.value) for c in self._constants]
        now += [f.x.array for f in self._functions]
        same = self._seen is not None and all(map(np.array_equal, self._seen, now))
        if self._comm.allreduce(same, MPI.LAND):
            return False
        self._seen = [value.copy() for value in now]
        return True


class Functional:
    """A functional on a mesh that rests: integrated when something has changed that it reads.

    The energy before a step is that after the last one.

    Args:
        form: A form without arguments.
        kept: Whether its last value is worth the memory of what it reads.
    """

    def __init__(self, form: ufl.Form, *, kept: bool = False) -> None:
        self._form = compiled(form)
        keeps = kept and self._form is not None
        self._inputs = Inputs([form], self._form.mesh.comm) if keeps else None
        self._value = 0.0

    def __call__(self) -> float:
        """The value at what it reads now; collective."""
        if self._form is not None and (self._inputs is None or self._inputs.changed()):
            self._value = integrate(self._form)
        return self._value


@dataclass(frozen=True)
class Values:
    r"""What the certificate of a step is made of; each is collective.

    Attributes:
        energy: The energy of the state.
        movement: The price $d^2 / (2 \tau)$ of the change since the old state.
        dissipation: The product $d^2 / \tau$ of force and rate.
    """

    energy: Callable[[], float]
    movement: Callable[[], float]
    dissipation: Callable[[], float]
