"""What is kept between assemblies and between steps is what would be made anew."""

import flows
from flows.lag import Lag
from flows.packing import Packed, packed

import numpy as np
import pytest
import ufl
from dolfinx import fem
from ufl import dx, grad, inner


@pytest.mark.parametrize("measure", [dx, ufl.ds], ids=["cells", "facets"])
def test_coefficients_are_packed_as_dolfinx_packs_them(measure):
    mesh = flows.mesh.rectangle(h=1 / 5)
    u = fem.Function(fem.functionspace(mesh, ("Lagrange", 2, (2,))))
    v = fem.Function(fem.functionspace(mesh, ("Lagrange", 1)))
    k = fem.Function(fem.functionspace(mesh, ("DG", 0)))
    form = fem.form(k * (inner(u, u) + inner(grad(v), grad(v))) * v * measure)
    pack = Packed(form)
    for seed in (1, 2):
        for f in (u, v, k):
            f.x.array[:] = np.random.default_rng(seed).random(f.x.array.size)
        mine, theirs = pack.coefficients(), fem.pack_coefficients(form)
        assert mine.keys() == theirs.keys()
        assert all(np.array_equal(mine[key], theirs[key]) for key in theirs)


def test_blocks_of_forms_are_packed_as_dolfinx_packs_them():
    V = fem.functionspace(flows.mesh.rectangle(h=1 / 3), ("Lagrange", 1))
    u, k = fem.Function(V), fem.Constant(V.mesh, 2.0)
    u.x.array[:] = 1 + V.dofmap.index_map.local_to_global(np.arange(u.x.array.size))
    v = ufl.TestFunction(V)
    blocks = [[fem.form(k * u * v * dx), None], [None, fem.form(v * ufl.dx(V.mesh))]]
    mine, theirs = packed(blocks), [fem.pack_coefficients(row) for row in blocks]
    ((key, values),) = theirs[0][0].items()
    assert np.array_equal(mine.coefficients()[0][0][key], values)
    assert mine.coefficients()[0][1] == mine.coefficients()[1][0] == {}
    assert mine.constants()[0][0] == [2.0]


def test_a_jacobian_is_kept_while_newton_contracts_and_the_constants_stand():
    tau = fem.Constant(flows.mesh.rectangle(h=1), 0.1)
    lag = Lag(0.02, [tau])
    assert not lag.keeps(0, 1.0)  # the first is made
    assert lag.keeps(1, 1e-3)
    assert not lag.keeps(2, 5e-4)  # half is slow
    assert lag.keeps(3, 1e-6)
    assert lag.keeps(0, 1.0)  # another step of the same size
    tau.value = 0.2
    assert not lag.keeps(0, 1.0)
    lag.forget()
    assert not lag.keeps(0, 1.0)


def test_steps_with_a_kept_jacobian_are_the_steps_of_newton(monkeypatch):
    def run():
        flow = flows.allen_cahn(flows.mesh.rectangle(h=1 / 16), eps=0.1)
        flow.state.interpolate(lambda x: np.cos(3 * x[0]) * np.cos(2 * x[1]))
        made, (jacobian,) = [], flow.solver._entries
        assemble = type(jacobian).assemble
        with monkeypatch.context() as patch:
            counted = lambda bcs=(): made.append(1) or assemble(jacobian, bcs)
            patch.setattr(jacobian, "assemble", counted)
            iterations = sum(flow.step(1e-3).iterations for _ in range(5))
        return flow.state.x.array.copy(), len(made), iterations

    kept, built, iterations = run()
    monkeypatch.setattr(Lag, "keeps", lambda *_: False)
    fresh, each, newton = run()
    assert each == newton
    assert built < iterations
    assert np.allclose(kept, fresh, rtol=0, atol=1e-8)
