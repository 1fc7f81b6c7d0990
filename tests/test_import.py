"""`import flows` first, last, and without DOLFINx."""

import os
import subprocess
import sys

from flows._boot import petsc_options

import pytest
from mpi4py import MPI


def python(code, *arguments):
    """Lines that a fresh interpreter prints; PETSc adds some on options that nobody used."""
    done = subprocess.run(
        [sys.executable, "-c", code, *arguments],
        stdout=subprocess.PIPE,
        text=True,
        check=True,
        env=os.environ | {"PETSC_OPTIONS": ""},
    )
    return done.stdout.splitlines()


@pytest.mark.parametrize(
    ("line", "options"),
    [
        ("", ""),
        ("-ksp_type cg -info", "-ksp_type cg -info"),
        ("part.stl --tau 0.1 -v -heat_ksp_rtol 1e-9 -k one", "-heat_ksp_rtol 1e-9"),
        ("-mat_shift -1.5 --until 2 -log_view :log.txt", "-mat_shift -1.5 -log_view :log.txt"),
        ("-ra --help -x --ksp_type cg", ""),
    ],
)
def test_petsc_gets_its_own_options_and_no_others(line, options):
    assert petsc_options(line.split()) == options.split()


@pytest.mark.serial
def test_flows_first_gives_petsc_the_command_line():
    code = """
from flows._boot import petsc_options
from dolfinx import fem
from petsc4py import PETSc
print(PETSc.Options().getAll())
"""
    assert python(code, "--tau", "1", "-ksp_type", "cg")[0] == "{'ksp_type': 'cg'}"


@pytest.mark.serial
def test_flows_last_leaves_petsc_as_it_is():
    code = """
import importlib.util
if importlib.util.find_spec("dolfinx_solver"):
    import dolfinx_solver
import petsc4py
petsc4py.init(["name", "-mine", "1"])
from petsc4py import PETSc
from dolfinx import fem
from flows._boot import petsc_options
print(PETSc.Options().getAll())
"""
    assert python(code, "-ksp_type", "cg")[0] == "{'mine': '1'}"


@pytest.mark.serial
@pytest.mark.parametrize("absent", ["dolfinx", "petsc4py"])
def test_without_dolfinx_and_petsc_one_sentence_says_what_to_install(absent):
    code = f"""
import sys
sys.modules["dolfinx_solver"] = sys.modules["{absent}"] = None
try:
    import flows._boot
except ImportError as error:
    print(error)
"""
    (said,) = python(code)
    assert "pip install gradient-flows[dolfinx]" in said
    assert "fenics-dolfinx" in said


@pytest.mark.serial
def test_modules_wait_until_their_names_are_asked_for_and_hide_none_of_them():
    code = """
import pkgutil, sys
import flows
print(sum(name.startswith("flows.") for name in sys.modules))
for module in pkgutil.iter_modules(flows.__path__):
    __import__(f"flows.{module.name}")
print([name for name in flows.__all__ if not getattr(flows, name).__doc__])
named = (getattr(flows, name) for name in flows.__all__)
print(*sorted(module.__name__ for module in named if isinstance(module, type(sys))))
"""
    count, undocumented, modules = python(code)
    assert int(count) <= 2
    assert undocumented == "[]"
    known = "diagnostics energy maps mesh mobility tangential transport"
    assert modules.replace("flows.", "") == known


@pytest.mark.three_ranks
def test_all_ranks_share_one_folder(tmp):
    comm = MPI.COMM_WORLD
    (tmp / f"{comm.rank}").touch()
    comm.Barrier()
    assert len(list(tmp.iterdir())) == comm.size
