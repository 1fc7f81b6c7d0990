"""What every test relies on, on one rank and on several."""

import gc
import io
import os
import sys

import flows

import dolfinx
import hypothesis
import pytest
from mpi4py import MPI
from petsc4py import PETSc

os.environ.setdefault("MPLBACKEND", "Agg")
os.environ.setdefault("PYVISTA_OFF_SCREEN", "true")

# All ranks must draw the same examples, and a form may have to be compiled for the first one.
hypothesis.settings.register_profile("flows", derandomize=True, deadline=None, database=None)
hypothesis.settings.load_profile("flows")

# Meshes are small and forms are many: compilers need not try hard. Two processes may want one form
# at once: then one waits until the other has compiled it.
dolfinx.jit.DOLFINX_DEFAULT_JIT_OPTIONS |= {
    "cffi_extra_compile_args": (["-O1", "-g0"], "Extra C compiler arguments"),
    "timeout": (120, "Seconds to wait for another process"),
}

comm = MPI.COMM_WORLD


def pytest_report_header():
    return f"flows: {flows.__path__[0]}, DOLFINx {dolfinx.__version__}, {comm.size} rank(s)"


@pytest.hookimpl(trylast=True)
def pytest_configure(config):
    """One report for all ranks: rank 0 writes it."""
    if comm.rank > 0:
        silent = pytest.TerminalReporter(config, io.StringIO())
        config.pluginmanager.unregister(name="terminalreporter")
        config.pluginmanager.register(silent, "terminalreporter")


def pytest_runtest_logreport(report):
    """A rank that fails says so at once: the others may wait for it until all are stopped."""
    if report.failed and comm.size > 1:
        print(f"\nrank {comm.rank}: {report.nodeid}\n{report.longreprtext}", file=sys.stderr)


pytest_collectreport = pytest_runtest_logreport


def pytest_collection_modifyitems(config, items):
    if comm.size > 1:
        serial = [item for item in items if item.get_closest_marker("serial")]
        config.hook.pytest_deselected(items=serial)
        items[:] = [item for item in items if item not in serial]


@pytest.hookimpl(trylast=True)
def pytest_runtest_teardown():
    """Destructors may be collective: all ranks run them here, in the same order."""
    gc.collect()
    PETSc.garbage_cleanup()
    comm.Barrier()


@pytest.fixture
def tmp(tmp_path):
    """A folder that all ranks share."""
    return comm.bcast(tmp_path)
