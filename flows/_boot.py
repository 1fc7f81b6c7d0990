"""What must happen once, before the first import of DOLFINx."""

import importlib
import importlib.util
import re
import sys
from collections.abc import Sequence

_NEEDED = (
    "flows needs DOLFINx 0.11 or newer with PETSc in real arithmetic: "
    "`pip install gradient-flows[dolfinx]` (Linux x86-64) or "
    "`conda install -c conda-forge fenics-dolfinx`"
)
# PETSc's names have one dash and, but for these two, an underscore. The options of the program that
# runs (`--tau 0.1`, `-v`, `-k name`) are not PETSc's, and PETSc would complain of each at the end.
_PETSC_OPTION = re.compile(r"-(help|info|[a-zA-Z]\w*_\w*)")
_ANY_OPTION = re.compile(r"--?[a-zA-Z]")


def petsc_options(arguments: Sequence[str]) -> list[str]:
    """Options of a command line that are meant for PETSc, with their values.

    Args:
        arguments: A command line without the name of the program.

    Returns:
        The part that goes to the PETSc database: `-ksp_type cg` does, `--tau 0.1` and `-v` do not.
    """
    chosen: list[str] = []
    taking = False
    for argument in arguments:
        if _ANY_OPTION.match(argument):
            taking = _PETSC_OPTION.fullmatch(argument) is not None
        if taking:
            chosen.append(argument)
    return chosen


def boot() -> None:
    """Load MPI, PETSc and DOLFINx in the one order that works everywhere.

    Raises:
        ImportError: If DOLFINx with PETSc is missing, too old, or complex.
    """
    if importlib.util.find_spec("dolfinx_solver"):
        importlib.import_module("dolfinx_solver")  # the wheel: loads the libmpi that all else needs
    try:
        importlib.import_module("mpi4py.MPI")
        petsc4py = importlib.import_module("petsc4py")
        if "petsc4py.PETSc" not in sys.modules:  # else the user has initialised PETSc already
            petsc4py.init(petsc_options(sys.argv[1:]))
        scalar = importlib.import_module("petsc4py.PETSc").ScalarType
        dolfinx = importlib.import_module("dolfinx")
        importlib.import_module("dolfinx.fem.petsc")
    except ImportError as error:
        raise ImportError(f"{_NEEDED} ({error}).") from error
    version = tuple(int(part) for part in dolfinx.__version__.split(".")[:2])
    if version < (0, 11) or "complex" in scalar.__name__:
        raise ImportError(f"{_NEEDED} (found {dolfinx.__version__}, {scalar.__name__}).")


boot()
