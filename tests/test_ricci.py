"""Ricci flow: Gauss-Bonnet, constant curvature on every genus, and how fast it is found."""

import flows
from flows import mesh
from flows.forms import assembled
from flows.shapes import from_arrays

import numpy as np
import pytest
from dolfinx import fem
from mpi4py import MPI
from scipy.integrate import solve_ivp
from tools import comm, nodal, order

MESHES = {
    2: lambda: mesh.bumpy_sphere(h=0.2),
    0: lambda: mesh.torus(h=0.25),
    -2: lambda: mesh.genus_two(h=0.1),
}


def range_of(flow):
    """Least and largest curvature, and the total one."""
    K = flow.curvature
    owned = K.function_space.dofmap.index_map.size_local
    values = K.x.array[:owned]
    weights = assembled(flow._weights, K.function_space)[:owned]
    least, most = comm.allreduce(values.min(), MPI.MIN), comm.allreduce(values.max(), MPI.MAX)
    return least, most, comm.allreduce(values @ weights)


@pytest.mark.parametrize("chi", MESHES)
def test_curvature_becomes_constant_and_nothing_else_is_lost(chi):
    flow = flows.ricci(MESHES[chi]())
    assert flow.euler == chi
    flows.noise(flow.state, 0.1)
    area = flow.area
    assert range_of(flow)[2] == pytest.approx(2 * np.pi * chi, abs=1e-11)
    history = flows.evolve(flow, 1e6, flows.Relax(1.0, growth=4), steps=14)
    least, most, total = range_of(flow)
    exact = 2 * np.pi * chi / area
    assert total == pytest.approx(2 * np.pi * chi, abs=1e-11)
    assert most - least < (1e-6 if chi > 0 else 1e-9)
    assert least - 1e-7 < exact < most + 1e-7
    assert flow.area == pytest.approx(area, rel=1e-12)
    assert np.diff(history["energy"]).max() < 1e-11
    assert history["defect"].max() < 1e-11


@pytest.mark.parametrize("chi", MESHES)
def test_few_steps_of_one_size_make_the_curvature_constant(chi):
    # Conformal maps of the sphere cost of the order of h^2: from 6500 nodes on less than 1e-4.
    flow = flows.ricci(mesh.bumpy_sphere(h=1.1071 / 26) if chi > 0 else MESHES[chi]())
    flows.evolve(flow, tau=flows.Fixed(10.0), steps=8)
    least, most, _ = range_of(flow)
    assert (most - least) * flow.area / (4 * np.pi) < (1e-4 if chi > 0 else 1e-6)


def rate(flow, degree, tau=2e-3, steps=5):
    """How fast a spherical harmonic of degree l decays, from implicit Euler steps."""
    shapes = {2: lambda x: x[0] * x[1], 3: lambda x: x[0] * x[1] * x[2]}
    for _ in range(3):
        flow.step(1e3)  # an icosahedron is not quite round
    wave, round_one = fem.Function(flow.state.function_space), flow.state.x.array.copy()
    wave.interpolate(shapes[degree])
    flow.state.x.array[:] += 1e-4 * wave.x.array
    sizes = []
    for _ in range(steps + 1):
        change = flow.state.x.array - round_one
        sizes.append(comm.allreduce((change * wave.x.array)[: flow._owned].sum()))
        flow.step(tau)
    return ((sizes[0] / sizes[-1]) ** (1 / steps) - 1) / tau


@pytest.mark.parametrize("degree", [2, 3])
def test_harmonics_on_the_sphere_decay_at_the_linearised_rate(degree):
    exact, errors, h = degree * (degree + 1) - 2, [], np.array([0.4, 0.2])
    for size in h:
        flow = flows.ricci(mesh.sphere(h=size))
        errors.append(abs(rate(flow, degree) - exact))
    assert errors[-1] < 0.05 * exact
    assert order(h, errors) == pytest.approx(2, abs=0.4)


def waves_of_a_flat_torus(until, n=256):
    """The flow of a metric that depends on x alone, u' = exp(-2u) u_xx, by finite differences."""
    x = np.arange(n) / n

    def rate(_, u):
        return np.exp(-2 * u) * (np.roll(u, 1) - 2 * u + np.roll(u, -1)) * n**2

    start = 0.5 * np.cos(2 * np.pi * x)
    end = solve_ivp(rate, (0, until), start, "LSODA", rtol=1e-9, atol=1e-11).y[:, -1]
    return lambda at: np.interp(at[0], x, end, period=1)


def test_a_flat_torus_forgets_its_metric_as_finite_differences_say():
    exact, errors, sizes = waves_of_a_flat_torus(0.02), [], (1 / 8, 1 / 16)
    for h in sizes:
        flow = flows.ricci(mesh.rectangle(h=h, periodic=True))
        flow.state.interpolate(lambda x: 0.5 * np.cos(2 * np.pi * x[0]))
        flows.evolve(flow, 0.02, 0.32 * h**2)
        gap = fem.Function(flow.state.function_space)
        gap.interpolate(exact)
        errors.append(np.abs(nodal(flow.state) - nodal(gap)).max())
    # Of second order in space, of first order in time, and tau goes like the square of h.
    assert order(sizes, errors) == pytest.approx(2, abs=0.3)
    assert errors[-1] < 5e-3


def test_energy_and_curvature_are_the_same_on_any_number_of_ranks():
    ends = []
    for on in (comm, MPI.COMM_SELF):
        flow = flows.ricci(mesh.bumpy_sphere(h=0.4, comm=on))
        flows.evolve(flow, steps=3, tau=0.1)
        ends.append((flow.energy(), on.allreduce(flow.curvature.x.array.max(), MPI.MAX)))
    assert ends[0] == pytest.approx(ends[1], rel=1e-9)


def test_a_resumed_run_is_the_same(tmp):
    def made():
        return flows.ricci(mesh.bumpy_sphere(h=0.4))

    whole = made()
    keep = flows.Checkpoint(tmp / "half.h5", times=[0.2])
    flows.evolve(whole, 0.4, 0.1, observers=[keep])
    half = made()
    flows.evolve(half, 0.4, 0.1, resume=tmp / "half.h5")
    assert np.abs(half.state.x.array - whole.state.x.array).max() < 1e-12


def test_meshes_without_a_closed_connected_surface_are_refused():
    points = np.array([[0, 0, 0], [1, 0, 0], [0, 1, 0], [0, 0, 1.0]])
    tetrahedron = np.array([[0, 2, 1], [0, 1, 3], [1, 2, 3], [0, 3, 2]])
    two = from_arrays(
        np.concatenate([points, points + 3]), np.concatenate([tetrahedron, tetrahedron + 4])
    )
    # The least projective plane: six vertices, one side, no boundary.
    plane = ["012", "023", "034", "045", "051", "124", "235", "341", "452", "513"]
    plane = np.array([[int(i) for i in cell] for cell in plane])
    corners = np.column_stack([np.cos(np.arange(6)), np.sin(np.arange(6)), np.arange(6.0) ** 2])
    bad = {
        "components": two,
        "only one side": from_arrays(corners, plane),
        "is open": mesh.hemisphere(h=0.5),
        "without boundary": mesh.rectangle(h=0.5),
        "closed surface of flat triangles": mesh.box(h=1.0),
        "of degree 2": mesh.sphere(refinements=0, order=2),
    }
    for words, domain in bad.items():
        with pytest.raises(ValueError, match=words):
            flows.ricci(domain)
