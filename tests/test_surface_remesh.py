"""Degraded surfaces get good triangles again, near where they were; components can be left out."""

import signal

import flows
from flows.components import components, without
from flows.mesh import circle, dumbbell, ellipsoid, from_arrays, sphere, torus, tube
from flows.surface_remesh import remesh

import numpy as np
import pytest
import ufl
from dolfinx import fem
from mpi4py import MPI
from tools import comm, order, total
from ufl import dx, inner


def arrays(mesh):
    """Points and cells of the whole mesh on every rank, in the order of its input."""
    tdim, names = mesh.topology.dim, mesh.geometry.input_global_indices
    own, cells = mesh.geometry.index_map().size_local, mesh.topology.index_map(tdim).size_local
    gather = lambda a: np.concatenate(mesh.comm.allgather(a))
    rank = np.argsort(gather(names[:own]))
    nodes = gather(names[mesh.geometry.dofmaps[0][:cells]])
    by = np.argsort(gather(mesh.topology.original_cell_index[:cells]))
    return gather(mesh.geometry.x[:own])[rank], nodes[by]


def angles(mesh):
    """Angles of all triangles, in degrees."""
    x, cells = arrays(mesh)
    corner = x[cells[:, :3]]
    a, b = np.roll(corner, -1, axis=1) - corner, np.roll(corner, 1, axis=1) - corner
    return np.degrees(np.arctan2(np.linalg.norm(np.cross(a, b), axis=2), np.sum(a * b, axis=2)))


def characteristic(mesh):
    """Vertices - edges + triangles."""
    mesh.topology.create_entities(1)
    maps = [mesh.topology.index_map(dim).size_global for dim in range(3)]
    return maps[0] - maps[1] + maps[2]


def size(mesh):
    """Area and enclosed volume."""
    rule = dx(domain=mesh, metadata={"quadrature_degree": 6})
    outward = inner(ufl.SpatialCoordinate(mesh), ufl.CellNormal(mesh)) / 3
    return np.array([total(1 * rule), total(outward * rule)])


def moved(mesh, move):
    """The same mesh with its nodes elsewhere."""
    mesh.geometry.x[:] = move(mesh.geometry.x)
    return mesh


def crowded(n, degree=1):
    """The unit sphere with stretched triangles."""

    def move(x):
        y = x + np.column_stack([0.4 * np.sin(2 * x[:, 0]), 0.3 * x[:, 1] ** 2, 0 * x[:, 2]])
        if degree == 1:  # as random as noise, and the same on any number of ranks
            y += 0.2 / n * np.cos(1e4 * x[:, [1, 2, 0]])
        return y / np.linalg.norm(y, axis=1, keepdims=True)

    return moved(sphere(h=1.11 / n, order=degree), move)


def bodies(*meshes):
    """One mesh of several that lie apart."""
    parts, count = [arrays(mesh) for mesh in meshes], 0
    points, cells = [], []
    for x, nodes in parts:
        points.append(x)
        cells.append(nodes + count)
        count += len(x)
    return from_arrays(np.concatenate(points), np.concatenate(cells))


def three_bodies():
    ball = lambda centre, radius: moved(sphere(radius, refinements=2), lambda x: x + centre)
    return bodies(torus(h=0.25), ball([0, 0, 0], 0.2), ball([5, 0, 0], 1.0))


# -- accuracy --------------------------------------------------------------------------------------
def test_area_and_volume_of_new_straight_triangles_are_second_order():
    exact, errors, changes = np.array([4 * np.pi, 4 * np.pi / 3]), [], []
    for n in (6, 12, 24):
        old = crowded(n)
        new = remesh(old)
        assert angles(old).min() < 16
        assert angles(new).min() > 20
        assert abs(len(arrays(new)[1]) / len(arrays(old)[1]) - 1) < 0.1
        assert characteristic(new) == 2
        errors.append(exact - size(new))
        changes.append(np.abs(size(new) - size(old)))
    for k in range(2):
        assert order([4, 2, 1], [e[k] for e in errors]) > 1.85, errors
        assert order([4, 2, 1], [c[k] for c in changes]) > 1.5, changes
    assert np.all(np.array(changes) < 0.3 * np.array(errors))


def test_area_and_volume_of_new_curved_triangles_change_by_fourth_order():
    changes, nodes = [], []
    for n in (6, 12, 24):
        old = crowded(n, 2)
        new = remesh(old)
        assert angles(new).min() > 20
        changes.append(np.abs(size(new) / size(old) - 1))
        nodes.append(np.abs(np.linalg.norm(arrays(new)[0], axis=1) - 1).max())
    for k in range(2):
        assert order([4, 2, 1], [c[k] for c in changes]) > 3.5, changes
    assert order([4, 2, 1], nodes) > 2.8, nodes
    assert changes[-1].max() < 3e-6


def test_normals_bend_new_triangles_of_degree_2_over_straight_ones():
    errors = []
    for n in (8, 16):
        new = remesh(crowded(n), order=2)
        assert new.geometry.cmaps[0].degree == 2
        errors.append(abs(size(new)[1] / (4 * np.pi / 3) - 1))
    assert order([2, 1], errors) > 2.3, errors
    assert errors[-1] < 5e-4


def test_edges_have_the_length_that_is_asked_for_but_follow_the_curvature():
    for h in (0.1, 0.2):
        area = size(new := remesh(crowded(8), h))[0] / len(arrays(new)[1])
        assert abs(2 / 3**0.25 * area**0.5 / h - 1) < 0.1
    x, cells = arrays(remesh(dumbbell(0.1, h=0.1), 0.3))
    middle = np.abs(x[cells].mean(axis=1)[:, 0]) < 0.1
    edge = np.linalg.norm(x[cells[:, 1]] - x[cells[:, 0]], axis=1)
    assert edge[middle].mean() < 0.06  # the neck has twelve of them around it
    assert edge[~middle].mean() > 0.1


def test_a_graded_mesh_stays_graded():
    old = moved(sphere(refinements=4), lambda x: x * [1, 1, 4])
    for mesh in (old, remesh(old)):
        x, cells = arrays(mesh)
        a, b, c = np.swapaxes(x[cells], 0, 1)
        area = np.linalg.norm(np.cross(b - a, c - a), axis=1) / 2
        tip = np.abs(x[cells].mean(axis=1)[:, 2]) > 3.5
        assert 1.9 < area[~tip].mean() / area[tip].mean() < 2.3


# -- topology --------------------------------------------------------------------------------------
def test_genus_and_components_are_kept():
    old = three_bodies()
    new = remesh(old)
    assert components(old)[1] == components(new)[1] == 3
    assert characteristic(old) == characteristic(new) == 4
    assert angles(new).min() > 20
    assert flows.mesh.closed(new)
    assert np.all(flows.mesh.orientation(new) > 0)
    assert np.abs(size(new) / size(old) - 1).max() < 0.03


@pytest.mark.parametrize("degree", [1, 2])
def test_the_boundary_of_a_tube_stays_in_its_planes(degree):
    def stretched(x):
        return x + np.column_stack([0 * x[:, :2], 0.3 * np.sin(np.pi * x[:, 2])])

    old = moved(tube(1.0, 2.0, h=0.2, order=degree), stretched)
    new = remesh(old)
    x, cells = arrays(new)
    sides = np.sort(cells[:, [[0, 1], [1, 2], [2, 0]]].reshape(-1, 2), axis=1)
    edges, count = np.unique(sides, axis=0, return_counts=True)
    rim = np.unique(edges[count == 1])
    assert characteristic(new) == 0
    assert angles(new).min() > 20
    assert np.abs(np.abs(x[rim, 2]) - 1).max() < 1e-12
    radius = np.linalg.norm(x[:, :2], axis=1)
    assert np.abs(radius - 1).max() < (6e-3 if degree == 1 else 6e-5)
    assert abs(size(new)[0] / size(old)[0] - 1) < (2e-3 if degree == 1 else 2e-5)


def test_the_corners_of_a_rectangle_are_kept():
    i, j = (a.ravel() for a in np.meshgrid(np.arange(31), np.arange(11), indexing="ij"))
    here = np.flatnonzero((i < 30) & (j < 10))
    square = np.column_stack([here, here + 11, here + 1, here + 12])
    cells = square[:, [0, 1, 2, 1, 3, 2]].reshape(-1, 3)
    t = i / 10 + 0.3 * np.sin(2 * np.pi * i / 30)
    new = remesh(from_arrays(np.column_stack([t, j / 10, 0 * t]), cells))
    x, _ = arrays(new)
    for corner in ([0, 0, 0], [3, 0, 0], [0, 1, 0], [3, 1, 0]):
        assert np.linalg.norm(x - corner, axis=1).min() < 1e-15
    assert abs(total(fem.Constant(new, 1.0) * dx) - 3) < 1e-12
    assert angles(new).min() > 20


# -- components ------------------------------------------------------------------------------------
def test_components_are_numbered_alike_on_all_ranks_by_the_order_of_the_input():
    mesh = three_bodies()
    labels, count = components(mesh)
    cells = mesh.topology.index_map(2)
    assert count == 3
    assert labels.shape == (cells.size_local + cells.num_ghosts,)
    middle = mesh.geometry.x[mesh.geometry.dofmaps[0]].mean(axis=1)
    far, near = middle[:, 0] > 3, np.linalg.norm(middle, axis=1) < 0.3
    assert np.all(labels == np.where(far, 2, np.where(near, 1, 0)))


def test_one_body_has_one_component():
    for mesh in (circle(n=7), dumbbell(h=0.3), flows.mesh.box(h=0.5)):
        labels, count = components(mesh)
        assert count == 1
        assert not labels.any()


@pytest.mark.parametrize("degree", [1, 2])
def test_a_body_less_one_component_is_the_body_built_without_it(degree):
    whole = remesh(three_bodies(), 0.3, order=degree)
    x, cells = arrays(whole)
    labels, _ = components(whole)
    inside = np.linalg.norm(x[cells].mean(axis=1), axis=1) < 0.3
    used, expected = np.unique(cells[~inside], return_inverse=True)
    for drop in ({1}, labels == 1):
        points, rest = arrays(without(whole, drop))
        assert np.array_equal(points, x[used])
        assert np.array_equal(rest, expected)
    assert components(without(whole, [0, 1]))[1] == 1


# -- parallel runs, failures, flows ----------------------------------------------------------------
@pytest.mark.parametrize("degree", [1, 2])
def test_the_new_mesh_does_not_depend_on_the_number_of_ranks(degree):
    meshes = [torus(h=0.3, order=degree, comm=c) for c in (comm, MPI.COMM_SELF)]
    for mesh in meshes:
        mesh.geometry.x[:, 2] *= 3
    (x, cells), (y, expected) = (arrays(remesh(mesh, 0.25)) for mesh in meshes)
    assert np.array_equal(x, y)
    assert np.array_equal(cells, expected)


def test_failures_are_one_sentence_on_every_rank():
    ball = sphere(refinements=1)
    x, cells = arrays(ball)
    for wrong, said in (
        (lambda: remesh(circle(n=8)), "'interval' of degree 1"),
        (lambda: remesh(ball, -1.0), "h must be positive"),
        (lambda: remesh(ball, order=3), "order of the geometry is 1 or 2, not 3"),
        (lambda: remesh(moved(sphere(refinements=1), lambda x: x * np.nan)), "not finite"),
        (lambda: remesh(from_arrays(x, [*cells, [cells[0, 0], cells[0, 1], 41]])), "branches"),
        (lambda: remesh(moved(sphere(refinements=1), lambda x: 0 * x)), "cannot be meshed anew"),
        (lambda: remesh(moved(sphere(refinements=2), lambda x: x * [1, 1, 0])), "cannot be"),
        (lambda: without(ball, [0]), "nothing is left"),
        (lambda: without(ball, [3]), "there is no component 3"),
    ):
        with pytest.raises(ValueError, match=said):
            wrong()


def test_an_interrupt_still_reaches_python_afterwards():
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        remesh(sphere(refinements=1))
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)
    finally:
        signal.signal(signal.SIGINT, before)


def test_a_stretched_flow_goes_on_with_good_triangles():
    flow = flows.mean_curvature(dumbbell(h=0.12))
    flows.evolve(flow, until=0.02, tau=1e-3)
    new = remesh(flow.mesh)
    assert angles(flow.mesh).min() < 12
    assert angles(new).min() > 22
    assert np.abs(size(new) / size(flow.mesh) - 1).max() < 0.01
    history = flows.evolve(flows.mean_curvature(new), until=2e-3, tau=1e-3)
    assert np.all(np.diff(history["energy"]) < 0)


def test_an_ellipsoid_gets_equilateral_triangles():
    new = remesh(ellipsoid((1, 1, 4), refinements=4))
    assert np.median(angles(new).min(axis=1)) > 50
