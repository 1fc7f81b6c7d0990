"""Meshes of degree 2, and surfaces with an edge."""

import flows.mesh as meshes
from flows.curved import straightened
from flows.formats import Block

import gmsh
import meshio
import numpy as np
import pytest
import pyvista
import ufl
from dolfinx.cpp.io import perm_vtk
from dolfinx.io import VTKFile, XDMFFile
from dolfinx.mesh import CellType, create_unit_square
from mpi4py import MPI
from tools import area, cells, comm, degree, on_root, order, total, volume
from ufl import SpatialCoordinate, dx


def largest(values):
    return comm.allreduce(float(np.max(np.abs(values), initial=0.0)), MPI.MAX)


def corners(mesh):
    return mesh.geometry.x[mesh.geometry.dofmaps[0][:, : mesh.topology.dim + 1]]


def flipped(nodes, turned, seed=0):
    nodes, chosen = np.array(nodes), np.random.default_rng(seed).random(len(nodes)) < 0.5
    nodes[chosen] = nodes[chosen][:, turned]
    return nodes


def arrays(mesh):
    """Points and cells of a mesh on one process."""
    return mesh.geometry.x, mesh.geometry.dofmaps[0]


# ---------------------------------------------------------------- shapes


def _dumbbell(x, b=0.3):
    a = (1 - b) * x[:, 0] ** 2 + b
    return x[:, 0] ** 2 + (x[:, 1] ** 2 + x[:, 2] ** 2) / a**2 - 1


SHAPES = {
    "circle": (lambda k: meshes.circle(2.0, n=11, order=k), lambda x: np.hypot(*x.T[:2]) - 2),
    "sphere": (
        lambda k: meshes.sphere(2.0, h=0.7, order=k),
        lambda x: np.linalg.norm(x, axis=1) - 2,
    ),
    "ellipsoid": (
        lambda k: meshes.ellipsoid((1, 2, 0.5), h=0.7, order=k),
        lambda x: np.linalg.norm(x / [1, 2, 0.5], axis=1) - 1,
    ),
    "torus": (
        lambda k: meshes.torus(1.0, 0.4, h=0.3, order=k),
        lambda x: (np.hypot(*x.T[:2]) - 1) ** 2 + x[:, 2] ** 2 - 0.16,
    ),
    "unstructured torus": (
        lambda k: meshes.torus(1.0, 0.4, h=0.3, order=k, structured=False),
        lambda x: (np.hypot(*x.T[:2]) - 1) ** 2 + x[:, 2] ** 2 - 0.16,
    ),
    "dumbbell": (lambda k: meshes.dumbbell(0.3, h=0.4, order=k), _dumbbell),
    "tube": (lambda k: meshes.tube(2.0, 1.5, h=0.4, order=k), lambda x: np.hypot(*x.T[:2]) - 2),
    "hemisphere": (
        lambda k: meshes.hemisphere(2.0, h=0.5, order=k),
        lambda x: np.linalg.norm(x, axis=1) - 2,
    ),
}


@pytest.mark.parametrize("name", SHAPES)
def test_all_nodes_lie_on_the_shape_and_normals_look_outward(name):
    build, distance = SHAPES[name]
    for k in (1, 2):
        mesh = build(k)
        assert degree(mesh) == k
        assert largest(distance(mesh.geometry.x)) < 3e-15
        if meshes.closed(mesh):
            assert np.all(meshes.orientation(mesh) == 1)
        assert meshes.closed(mesh) == (name not in ("tube", "hemisphere"))


@pytest.mark.parametrize("name", ["circle", "sphere", "tube", "hemisphere", "torus"])
def test_midside_nodes_are_in_the_middle_of_the_arc(name):
    mesh = SHAPES[name][0](2)
    tdim = mesh.topology.dim
    x = mesh.geometry.x[mesh.geometry.dofmaps[0]]
    ends = [(0, 1)] if tdim == 1 else [(1, 2), (0, 2), (0, 1)]
    for k, (a, b) in enumerate(ends, tdim + 1):
        lengths = [np.linalg.norm(x[:, i] - x[:, k], axis=1) for i in (a, b)]
        # On a torus the lattice itself grows outward: there the middle is that of its angles.
        assert largest(lengths[0] / lengths[1] - 1) < (0.2 if name == "torus" else 1e-14)


@pytest.mark.parametrize("name", ["tube", "hemisphere"])
@pytest.mark.parametrize("k", [1, 2])
def test_open_surfaces_look_away_from_their_axis_or_centre(name, k):
    x = corners(SHAPES[name][0](k))
    away = x.mean(axis=1) * ([1, 1, 0] if name == "tube" else [1, 1, 1])
    normal = np.cross(x[:, 1] - x[:, 0], x[:, 2] - x[:, 0])
    cosine = np.sum(away * normal, axis=1)
    cosine /= np.linalg.norm(away, axis=1) * np.linalg.norm(normal, axis=1)
    assert comm.allreduce(float(cosine.min(initial=1.0)), MPI.MIN) > 0.97


@pytest.mark.parametrize("structured", [True, False])
def test_area_and_volume_of_a_curved_torus_are_fourth_order_in_h(structured):
    h, errors = np.array([0.4, 0.2, 0.1]), []
    for size in h:
        mesh = meshes.torus(h=size, order=2, structured=structured)
        errors.append([abs(area(mesh) / (2 * np.pi**2) - 1), abs(volume(mesh) * 2 / np.pi**2 - 1)])
    for error in np.transpose(errors):
        assert order(h, error) == pytest.approx(4, abs=0.15)
        assert error[-1] < 1e-5


def test_area_and_volume_of_a_curved_sphere_are_fourth_order_in_h():
    h, errors = np.array([4, 2, 1]), []
    for k in (1, 2, 3):
        mesh = meshes.sphere(2.0, refinements=k, order=2)
        assert mesh.geometry.index_map().size_global == 40 * 4**k + 2
        errors.append(
            [abs(area(mesh) / (16 * np.pi) - 1), abs(volume(mesh) * 3 / (32 * np.pi) - 1)]
        )
    for error in np.transpose(errors):
        assert order(h, error) == pytest.approx(4, abs=0.1)


def test_length_and_area_of_a_curved_circle_are_fourth_order_in_h():
    h = np.array([0.4, 0.2, 0.1])
    circles = [meshes.circle(h=size, order=2) for size in h]
    for measure, exact in ((area, 2 * np.pi), (volume, np.pi)):
        error = [abs(measure(mesh) / exact - 1) for mesh in circles]
        assert order(h, error) == pytest.approx(4, abs=0.15)


def test_unstructured_torus_has_even_triangles():
    mesh = meshes.torus(h=0.227, order=2, structured=False)
    assert 1800 < mesh.geometry.index_map().size_global < 2100
    x = corners(mesh)
    sides = np.linalg.norm(x - np.roll(x, 1, axis=1), axis=2)
    assert largest(sides) < 1.6 * 0.227
    assert largest(1 / sides) < 1.8 / 0.227


@pytest.mark.parametrize("k", [1, 2])
def test_the_edge_of_a_tube_is_two_circles_and_that_of_a_hemisphere_one_in_the_plane(k):
    tube = meshes.tube(2.0, 1.5, h=0.2, order=k)
    z = SpatialCoordinate(tube)[2]
    tolerance = {"rel": 2e-3 if k == 1 else 2e-7}
    assert area(tube, ufl.ds) == pytest.approx(8 * np.pi, **tolerance)
    assert area(tube) == pytest.approx(6 * np.pi, **tolerance)
    assert total(z * z * ufl.ds) == pytest.approx(8 * np.pi * 0.75**2, **tolerance)
    assert total(z * ufl.ds) == pytest.approx(0, abs=1e-13)
    hemisphere = meshes.hemisphere(2.0, h=0.2, order=k)
    z = SpatialCoordinate(hemisphere)[2]
    assert area(hemisphere, ufl.ds) == pytest.approx(4 * np.pi, **tolerance)
    assert total(z * z * ufl.ds) == 0
    assert comm.allreduce(float(hemisphere.geometry.x[:, 2].min(initial=0)), MPI.MIN) == 0
    # 5 m^2 triangles over m rings
    assert cells(hemisphere) == 5 * round(np.pi / 0.2) ** 2


def test_triangles_of_a_tube_are_nearly_equilateral():
    x = corners(meshes.tube(1.0, 2.0, h=0.1))
    sides = np.linalg.norm(x - np.roll(x, 1, axis=1), axis=2)
    assert largest(sides / 0.1 - 1) < 0.03


def test_bad_sizes_and_orders_are_refused():
    for build, message in (
        (lambda: meshes.tube(height=0.0), "height must be positive"),
        (lambda: meshes.tube(h=-0.1), "h must be positive"),
        (lambda: meshes.hemisphere(-1.0), "radius must be positive"),
        (lambda: meshes.sphere(order=3), "1 or 2, not 3"),
        (lambda: meshes.torus(order=0, structured=False), "1 or 2, not 0"),
        (lambda: meshes.disk(order=3), "1 or 2, not 3"),
    ):
        with pytest.raises(ValueError, match=message):
            build()


# ---------------------------------------------------------------- arrays


def test_curved_arrays_of_any_orientation_give_a_curved_mesh_that_looks_outward():
    points, nodes = arrays(meshes.sphere(refinements=1, order=2, comm=MPI.COMM_SELF))
    for seed in range(2):
        mesh = meshes.from_arrays(points, flipped(nodes, [0, 2, 1, 3, 5, 4], seed))
        assert (degree(mesh), cells(mesh)) == (2, 80)
        assert volume(mesh) == pytest.approx(4 * np.pi / 3, rel=5e-3)
    points, nodes = arrays(meshes.circle(n=12, order=2, comm=MPI.COMM_SELF))
    curve = meshes.from_arrays(points[:, :2], flipped(nodes, [1, 0, 2]), cell=CellType.interval)
    assert volume(curve) == pytest.approx(np.pi, rel=1e-3)


def test_arrays_of_another_number_of_nodes_are_refused():
    with pytest.raises(ValueError, match="triangle has 3 or 6 nodes"):
        meshes.from_arrays(np.eye(4), [[0, 1, 2, 3]])


def test_midside_nodes_that_fold_a_cell_go_back_to_the_chord():
    x = np.array([[0, 0, 0], [1, 0, 0], [0, 1, 0], [1, 1, 0.0]])
    nodes = np.array([[0, 1, 2, 4, 5, 6], [3, 2, 1, 4, 7, 8]])
    middle = np.array([[0.5, 0.5], [0, 0.5], [0.5, 0], [1, 0.5], [0.5, 1]])
    points = np.vstack([x, np.column_stack([middle, np.zeros(5)])])
    gentle = points + 0.05 * np.random.default_rng(0).standard_normal(points.shape)
    assert np.array_equal(straightened(gentle, Block("triangle", 2, nodes)), gentle)
    folded = gentle.copy()
    folded[4] += [0.8, 0.8, 0]
    repaired = straightened(folded, Block("triangle", 2, nodes))
    # The node turns the second cell inside out, and only makes the first one larger.
    for k, (a, b) in {4: (1, 2), 7: (1, 3), 8: (2, 3)}.items():
        assert np.allclose(repaired[k], (gentle[a] + gentle[b]) / 2, atol=1e-15)
    kept = [0, 1, 2, 3, 5, 6]
    assert np.array_equal(repaired[kept], gentle[kept])


# ---------------------------------------------------------------- files


@pytest.mark.parametrize("suffix", [".vtu", ".xdmf"])
def test_a_curved_surface_survives_a_file(tmp, suffix):
    path = tmp / f"torus{suffix}"

    def write():
        torus = meshes.torus(h=0.4, order=2, comm=MPI.COMM_SELF)
        points, nodes = arrays(torus)
        if suffix == ".vtu":
            turned = flipped(nodes, [0, 2, 1, 3, 5, 4])
            there = np.argsort(perm_vtk(CellType.triangle, 6))
            meshio.write(path, meshio.Mesh(points, [("triangle6", turned[:, there])]))
        else:
            with XDMFFile(MPI.COMM_SELF, path, "w") as file:
                file.write_mesh(torus)

    on_root(write)
    mesh, same = meshes.read(path, order=2), meshes.torus(h=0.4, order=2)
    assert (degree(mesh), cells(mesh)) == (2, cells(same))
    x = mesh.geometry.x
    assert largest((np.hypot(*x.T[:2]) - 1) ** 2 + x[:, 2] ** 2 - 0.25) < 1e-14
    assert volume(mesh) == pytest.approx(volume(same), rel=1e-13)
    corners_only = meshes.read(path, order=1)
    assert degree(corners_only) == 1
    assert volume(corners_only) == pytest.approx(volume(meshes.torus(h=0.4)), rel=1e-13)


@pytest.mark.parametrize("name", ["circle", "sphere"])
def test_a_curved_surface_survives_a_file_of_dolfinx(tmp, name):
    def write():
        build = {"circle": meshes.circle, "sphere": meshes.sphere}[name]
        with VTKFile(MPI.COMM_SELF, tmp / "mesh.pvd", "w") as file:
            file.write_mesh(build(h=0.5, order=2, comm=MPI.COMM_SELF))

    on_root(write)
    mesh = meshes.read(tmp / "mesh_p0_000000.vtu")
    assert degree(mesh) == 2
    assert largest(np.linalg.norm(mesh.geometry.x, axis=1) - 1) < 1e-14
    assert np.all(meshes.orientation(mesh) == 1)


@pytest.mark.parametrize("suffix", [".vtk", ".vtp"])
def test_polygons_of_vtk_are_read(tmp, suffix):
    path = tmp / f"ball{suffix}"
    on_root(lambda: pyvista.Icosphere(nsub=2).save(path))
    mesh = meshes.read(path)
    assert np.all(meshes.orientation(mesh) == 1)
    assert volume(mesh) == pytest.approx(volume(meshes.read(path, order=2)), rel=1e-12)
    assert volume(mesh) == pytest.approx(4 * np.pi / 3, rel=0.05)


def test_a_curved_surface_survives_a_file_of_gmsh(tmp):
    path = tmp / "torus.msh"

    def write():
        gmsh.initialize(interruptible=False)
        gmsh.option.setNumber("General.Terminal", 0)
        gmsh.model.occ.addTorus(0, 0, 0, 1, 0.5)
        gmsh.model.occ.synchronize()
        gmsh.option.setNumber("Mesh.MeshSizeMax", 0.4)
        gmsh.model.mesh.generate(2)
        gmsh.model.mesh.setOrder(2)
        gmsh.write(str(path))
        gmsh.finalize()

    on_root(write)
    mesh = meshes.read(path)
    x = mesh.geometry.x
    assert degree(mesh) == 2
    assert largest((np.hypot(*x.T[:2]) - 1) ** 2 + x[:, 2] ** 2 - 0.25) < 1e-14
    assert volume(mesh) == pytest.approx(np.pi**2 / 2, rel=2e-3)


def test_order_two_without_h_halves_the_edges_of_a_file(tmp):
    points, nodes = arrays(meshes.sphere(refinements=1, comm=MPI.COMM_SELF))
    square = create_unit_square(MPI.COMM_SELF, 2, 2, CellType.quadrilateral)
    x, around = square.geometry.x, square.geometry.dofmaps[0][:, [0, 1, 3, 2]]
    lines = np.array([[a, b] for a, b in around[:, [0, 3]] if x[a, 1] == x[b, 1] == 0])
    assert len(lines) == 2
    tags = {"tag": [np.array([3, 3, 4, 4]), np.full(len(lines), 5)]}

    def write():
        meshio.write(tmp / "sphere.stl", meshio.Mesh(points, [("triangle", nodes)]))
        blocks = [("quad", around), ("line", lines)]
        meshio.write(tmp / "square.vtu", meshio.Mesh(x, blocks, cell_data=tags))

    on_root(write)
    flat, mesh = (meshes.read(tmp / "sphere.stl", order=k) for k in (1, 2))
    assert (degree(flat), degree(mesh), cells(mesh)) == (1, 2, 80)
    assert mesh.geometry.index_map().size_global == 162
    assert volume(mesh) == pytest.approx(volume(flat), rel=1e-13)
    data = meshes.read_data(tmp / "square.vtu", order=2)
    assert degree(data.mesh) == 2
    assert data.mesh.geometry.index_map().size_global == 25
    assert area(data.mesh, ufl.ds(5, subdomain_data=data.facet_tags)) == pytest.approx(1)
    assert area(data.mesh, dx(3, subdomain_data=data.cell_tags)) == pytest.approx(0.5)
