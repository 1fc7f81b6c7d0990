"""Kernels for the processor at hand: as exact as portable ones, compiled once."""

import flows
from flows.jit import FAST, PLAIN, jit_options

import dolfinx
import numpy as np
import pytest
import ufl
from dolfinx import fem
from ufl import dx, grad, inner

FLAGS = "cffi_extra_compile_args"


@pytest.fixture
def field():
    V = fem.functionspace(flows.mesh.rectangle(h=1 / 8), ("Lagrange", 1))
    u = fem.Function(V)
    u.interpolate(lambda x: 0.3 + 0.5 * np.cos(3 * x[0]) * x[1])
    return u


@pytest.fixture
def shipped(monkeypatch):
    """The options of an installation, not those of the tests."""
    options = dolfinx.jit.DOLFINX_DEFAULT_JIT_OPTIONS
    monkeypatch.setitem(options, FLAGS, (PLAIN, ""))
    return jit_options()


def test_flags_of_the_user_win(monkeypatch):
    mine = (["-O0"], "")
    monkeypatch.setitem(dolfinx.jit.DOLFINX_DEFAULT_JIT_OPTIONS, FLAGS, mine)
    assert jit_options()[FLAGS] == ["-O0"]


def test_fast_kernels_differ_by_rounding_and_see_what_is_no_number(field, shipped):
    assert set(FAST) <= set(shipped[FLAGS])
    V, u = field.function_space, field
    E = (inner(grad(u), grad(u)) / 2 + (u**2 - 1) ** 2 / 4 + u * ufl.ln(u + 1) + ufl.exp(u)) * dx
    F = ufl.derivative(E, u)
    for form in (E, F, ufl.derivative(F, u)):
        fast = fem.form(form, jit_options=shipped)
        plain = fem.form(form, jit_options={FLAGS: PLAIN})
        if not form.arguments():
            a, b = np.array([fem.assemble_scalar(fast)]), np.array([fem.assemble_scalar(plain)])
        elif len(form.arguments()) == 1:
            a, b = (fem.assemble_vector(f).array for f in (fast, plain))
        else:
            a, b = (fem.assemble_matrix(f).data for f in (fast, plain))
        assert np.allclose(a, b, rtol=0, atol=1e-14 * np.abs(b).max())
    functional = fem.form(E, jit_options=shipped)
    for value in (np.nan, np.inf, -2.0):
        u.x.array[: V.dofmap.index_map.size_local] = value
        assert not np.isfinite(fem.assemble_scalar(functional))


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("heat", {}),
        ("allen_cahn", {"eps": 0.2}),
        ("cahn_hilliard", {"eps": 0.2}),
        ("porous_medium", {"m": 2}),
        ("mean_curvature", {}),
    ],
)
def test_nothing_is_compiled_in_a_step(name, options, monkeypatch):
    surface = name == "mean_curvature"
    mesh = flows.mesh.sphere(h=0.5) if surface else flows.mesh.rectangle(h=1 / 6)
    flow = getattr(flows, name)(mesh, **options)
    if not surface:
        flow.state.interpolate(lambda x: 0.5 + 0.1 * np.cos(np.pi * x[0]))
    flow.step(1e-4)
    compiled = []
    monkeypatch.setattr(dolfinx.jit, "ffcx_jit", lambda *args, **_: compiled.append(args))
    for tau in (1e-4, 2e-4, 1e-4):
        flow.step(tau)
    flow.review()
    assert not compiled
