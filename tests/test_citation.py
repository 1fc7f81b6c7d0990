"""A paper that uses a flow must be able to name what the flow rests on."""

import re
from pathlib import Path

import flows
from flows.cite import FOUNDATION, bibliography

import pytest
import ufl
from dolfinx import fem
from mpi4py import MPI

comm = MPI.COMM_WORLD


@pytest.fixture(scope="module")
def u():
    domain = flows.mesh.rectangle(h=0.5)
    return fem.Function(fem.functionspace(domain, ("Lagrange", 1)), name="u")


def keys(flow):
    return re.findall(r"^@\w+\{([^,]+),", flows.citation(flow), re.MULTILINE)


def test_every_flow_cites_flows_dolfinx_and_petsc(u):
    flow = flows.GradientFlow(flows.energy.dirichlet(u), u, flows.L2())
    assert keys(flow)[: len(FOUNDATION)] == list(FOUNDATION)
    assert f"Version {flows.__version__}" in flows.citation(flow)


@pytest.mark.parametrize(
    ("scheme", "key"),
    [
        (flows.MinimizingMovement(), "ambrosio2008"),
        (flows.AVF(), "mclachlan1999"),
        (flows.BDF2(), "matthes2019"),
    ],
)
def test_the_scheme_is_cited_and_no_other(u, scheme, key):
    schemes = {"ambrosio2008", "mclachlan1999", "matthes2019"}
    flow = flows.GradientFlow(flows.energy.dirichlet(u), u, flows.L2(), scheme=scheme)
    assert schemes & set(keys(flow)) == {key}


def test_the_metric_of_surfaces_is_cited_with_its_algorithm():
    flow = flows.mean_curvature(flows.mesh.sphere(refinements=1))
    assert "barrett2008" in keys(flow)


def test_every_summand_of_a_metric_is_cited(u):
    class First(flows.Onsager):
        "The metric of {cite}`otto2001`."

    class Second(flows.Onsager):
        "The metrics of {cite:t}`onsager1931, mielke2011`."

    def dual(xi):
        return 0.5 * ufl.inner(ufl.grad(xi), ufl.grad(xi)) * ufl.dx

    sum_of_three = First(dual) + flows.L2() + Second(dual)
    flow = flows.GradientFlow(flows.energy.dirichlet(u), u, sum_of_three)
    assert {"otto2001", "onsager1931", "mielke2011"} <= set(keys(flow))


def test_a_direct_solver_is_cited_where_it_solves(u):
    options = {"pc_type": "lu", "pc_factor_mat_solver_type": "mumps"}
    E = flows.energy.dirichlet(u)
    with_mumps = flows.GradientFlow(E, u, flows.L2(), petsc_options=options)
    without = flows.GradientFlow(E, u, flows.L2(), petsc_options={"pc_type": "jacobi"})
    assert "amestoy2001" in keys(with_mumps)
    assert "amestoy2001" not in keys(without)


def test_a_flow_without_energy_is_cited_too(u):
    old, tau = u.copy(), fem.Constant(u.function_space.mesh, 1.0)
    residual = (u - old) / tau * ufl.TestFunction(u.function_space) * ufl.dx
    flow = flows.WeakFlow(residual, u, previous=old, tau=tau)
    assert keys(flow)[: len(FOUNDATION)] == list(FOUNDATION)


def test_docstrings_cite_what_the_bibliography_holds():
    package = Path(flows.__path__[0])
    known = bibliography()
    cited = {
        key.strip()
        for path in package.glob("*.py")
        for found in re.findall(r"\{cite(?::\w)?\}`([\w, ]+)`", path.read_text(encoding="utf-8"))
        for key in found.split(",")
    }
    assert cited
    assert cited <= known.keys()


def test_entries_balance_their_braces():
    for key, entry in bibliography().items():
        assert entry.count("{") == entry.count("}"), key
