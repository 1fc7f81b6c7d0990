from pathlib import Path

import flows.mesh as meshes

import basix.ufl
import dolfinx.mesh
import gmsh
import meshio
import numpy as np
import pytest
import ufl
from dolfinx import fem
from dolfinx.io import XDMFFile
from dolfinx.mesh import CellType
from mpi4py import MPI
from ufl import CellNormal, SpatialCoordinate, dx, inner

comm = MPI.COMM_WORLD
GEOMETRY = Path(__file__).parents[1] / "meshes"


def integral(form):
    return comm.allreduce(fem.assemble_scalar(fem.form(form)))


def area(mesh, measure=dx):
    return integral(fem.Constant(mesh, 1.0) * measure)


def volume(mesh, sign=1):
    """Enclosed volume by the divergence theorem: positive if the normals look outward."""
    x, gdim = SpatialCoordinate(mesh), mesh.geometry.dim
    return integral(inner(x, sign * CellNormal(mesh)) / gdim * dx(mesh))


def euler(mesh):
    for dim in (0, 1, 2):
        mesh.topology.create_entities(dim)
    v, e, f = (mesh.topology.index_map(dim).size_global for dim in (0, 1, 2))
    return v - e + f


def cells(mesh):
    return mesh.topology.index_map(mesh.topology.dim).size_global


def on_root(action):
    if comm.rank == 0:
        action()
    comm.Barrier()


def raw(points, cells, cell="triangle"):
    """A distributed mesh whose cells are left as they are."""
    points, cells = np.asarray(points, float), np.asarray(cells)
    if comm.rank > 0:
        points, cells = points[:0], cells[:0]
    element = basix.ufl.element("Lagrange", cell, 1, shape=(points.shape[1],))
    return dolfinx.mesh.create_mesh(comm, cells, element, points)


def flipped(cells, seed=0):
    """Every other cell, at random, seen from behind."""
    cells, swap = np.array(cells), [1, 0] if cells.shape[1] == 2 else [0, 2, 1, 3][: cells.shape[1]]
    chosen = np.random.default_rng(seed).random(len(cells)) < 0.5
    cells[chosen] = cells[chosen][:, swap]
    return cells


def cube(n=3):
    """The surface of the unit cube, of quadrilaterals with points of their own on each side."""
    i, j = (a.ravel() for a in np.meshgrid(np.arange(n), np.arange(n)))
    at = np.array([[0, 0], [1, 0], [0, 1], [1, 1]])
    u, v = (i[:, None] + at[:, 0]) / n, (j[:, None] + at[:, 1]) / n
    sides = [
        np.roll(np.stack([np.full_like(u, side), u, v], axis=-1), axis, axis=-1)
        for axis in range(3)
        for side in (0.0, 1.0)
    ]
    points = np.concatenate(sides).reshape(-1, 3)
    return points, np.arange(len(points)).reshape(-1, 4)


def welded(points, cells):
    points, number = np.unique(points, axis=0, return_inverse=True)
    return points, number.ravel()[cells]


def octahedron():
    points = np.array([[1, 0, 0], [-1, 0, 0], [0, 1, 0], [0, -1, 0], [0, 0, 1], [0, 0, -1.0]])
    return points, np.array([[a, b, c] for a in (0, 1) for b in (2, 3) for c in (4, 5)])


# ---------------------------------------------------------------- built


def test_sphere_is_inscribed_and_its_volume_is_second_order_in_h():
    error = []
    for k in (2, 3, 4):
        mesh = meshes.sphere(2.0, refinements=k)
        assert cells(mesh) == 20 * 4**k
        assert np.allclose(np.linalg.norm(mesh.geometry.x, axis=1), 2.0, rtol=1e-14)
        error.append(1 - volume(mesh) / (32 * np.pi / 3))
    slope = np.polyfit(np.log([4, 2, 1]), np.log(error), 1)[0]
    assert slope == pytest.approx(2, abs=0.02)


def test_torus_volume_is_second_order_in_h():
    h = np.array([0.2, 0.1, 0.05])
    error = [1 - volume(meshes.torus(h=size)) / (np.pi**2 / 2) for size in h]
    assert np.polyfit(np.log(h), np.log(error), 1)[0] == pytest.approx(2, abs=0.1)


@pytest.mark.parametrize(
    ("build", "enclosed", "characteristic"),
    [
        (lambda: meshes.sphere(h=0.2), 4 * np.pi / 3, 2),
        (lambda: meshes.ellipsoid((1, 2, 0.5), h=0.2), 4 * np.pi / 3, 2),
        (lambda: meshes.torus(2.0, 0.5, h=0.2), np.pi**2, 0),
        # int_-1^1 pi a(x)^2 (1 - x^2) dx, a = (1 - b) x^2 + b
        (lambda: meshes.dumbbell(h=0.1), np.pi * (0.64 * 4 / 35 + 0.32 * 4 / 15 + 0.04 * 4 / 3), 2),
    ],
    ids=["sphere", "ellipsoid", "torus", "dumbbell"],
)
def test_closed_surfaces_look_outward(build, enclosed, characteristic):
    mesh = build()
    assert meshes.closed(mesh)
    assert np.all(meshes.orientation(mesh) == 1)
    assert volume(mesh) == pytest.approx(enclosed, rel=0.04)
    assert euler(mesh) == characteristic


def test_circle_looks_outward_and_is_a_regular_polygon():
    n = 17
    mesh = meshes.circle(2.0, n=n)
    assert mesh.geometry.dim == 2
    assert meshes.closed(mesh)
    assert np.all(meshes.orientation(mesh) == 1)
    assert volume(mesh) == pytest.approx(2 * n * np.sin(2 * np.pi / n), rel=1e-13)
    assert area(mesh) == pytest.approx(4 * n * np.sin(np.pi / n), rel=1e-13)


def test_flat_shapes_have_their_size_and_number_of_cells():
    assert area(meshes.interval(-1, 2, h=0.3)) == pytest.approx(3)
    assert cells(meshes.interval(-1, 2, h=0.3)) == 10
    assert cells(meshes.rectangle((0, 0), (2, 1), h=0.1)) == 400
    quads = meshes.rectangle((0, 0), (2, 1), h=0.1, cell=CellType.quadrilateral)
    assert (cells(quads), area(quads)) == (200, pytest.approx(2))
    assert cells(meshes.box(h=0.25)) == 6 * 64
    assert area(meshes.box((0, 0, 0), (1, 2, 3), h=0.5)) == pytest.approx(6)
    assert not meshes.closed(quads)


def test_curved_cells_are_fourth_order():
    h = np.array([0.4, 0.2])
    error = [abs(area(meshes.disk(h=size, order=2)) - np.pi) for size in h]
    assert np.log(error[0] / error[1]) / np.log(2) > 3.5
    assert area(meshes.ball(h=0.5, order=2)) == pytest.approx(4 * np.pi / 3, rel=2e-3)
    assert meshes.disk().geometry.dim == 2


@pytest.mark.parametrize(
    "build",
    [
        lambda: meshes.sphere(-1.0),
        lambda: meshes.sphere(h=0.0),
        lambda: meshes.torus(1.0, 1.0),
        lambda: meshes.dumbbell(neck=0.0),
        lambda: meshes.disk(h=float("nan")),
        lambda: meshes.interval(1.0, 0.0),
        lambda: meshes.circle(n=2),
    ],
    ids=["sphere", "h", "torus", "neck", "nan", "interval", "n"],
)
def test_sizes_must_be_positive(build):
    with pytest.raises(ValueError, match="must be"):
        build()


# ---------------------------------------------------------------- orientation


@pytest.mark.parametrize(
    ("points", "corners", "cell", "enclosed"),
    [
        (*octahedron(), "triangle", 4 / 3),
        (*welded(*cube()), "quadrilateral", 1.0),
        ([[0, 0], [1, 0], [1, 1], [0, 1]], [[0, 1], [1, 2], [2, 3], [3, 0]], "interval", 1.0),
    ],
    ids=["octahedron", "cube", "square"],
)
def test_any_orientation_is_repaired(points, corners, cell, enclosed):
    for seed in range(3):
        mesh = raw(points, flipped(np.asarray(corners), seed), cell)
        signs = meshes.orientation(mesh)
        cell_map = mesh.topology.index_map(mesh.topology.dim)
        assert len(signs) == cell_map.size_local + cell_map.num_ghosts
        sign = fem.Function(fem.functionspace(mesh, ("DG", 0)))
        sign.x.array[:] = signs
        assert volume(mesh, sign) == pytest.approx(enclosed, rel=1e-13)
    mesh = meshes.from_arrays(points, flipped(np.asarray(corners)), cell=getattr(CellType, cell))
    assert volume(mesh) == pytest.approx(enclosed, rel=1e-13)


def test_each_component_looks_out_of_itself():
    points, corners = octahedron()
    both = np.concatenate([points, 3 * points + 0.1])
    mesh = meshes.from_arrays(both, np.concatenate([corners, corners + 6]))
    assert volume(mesh) == pytest.approx(28 * 4 / 3, rel=1e-13)


MOEBIUS = [[0, 1, 2], [1, 2, 3], [2, 3, 4], [3, 4, 0], [4, 0, 1]]
# The projective plane with six vertices.
PROJECTIVE = [
    [0, 1, 2], [0, 2, 3], [0, 3, 4], [0, 4, 5], [0, 1, 5],
    [1, 2, 4], [2, 3, 5], [1, 3, 4], [2, 4, 5], [1, 3, 5],
]  # fmt: skip


@pytest.mark.parametrize(
    ("corners", "message"),
    [
        (octahedron()[1][1:], "is open: 3 of 12 edges have only one cell"),
        (np.concatenate([octahedron()[1], [[0, 1, 2]]]), "branches: 2 edges have more than two"),
        (MOEBIUS, "is open: 5 of 10 edges"),
        (PROJECTIVE, "has only one side"),
    ],
    ids=["hole", "fin", "moebius", "projective"],
)
def test_surfaces_without_an_outside_are_refused_on_every_rank(corners, message):
    points = np.random.default_rng(1).random((6, 3))
    mesh = raw(points, np.asarray(corners))
    assert meshes.closed(mesh) == ("open" not in message and "branches" not in message)
    with pytest.raises(ValueError, match=message):
        meshes.orientation(mesh)


def test_arrays_that_are_no_mesh_are_refused_on_every_rank():
    points = np.random.default_rng(1).random((3, 3))
    for corners, message in (
        (np.empty((0, 3), dtype=int), "no cells"),
        ([[0, 1, 3]], "missing"),
        ([[0, 1, 1]], "repeats"),
        ([[0, 1, 2], [0, 2, 1]], "repeats"),
    ):
        with pytest.raises(ValueError, match=message):
            meshes.from_arrays(points, corners)
    with pytest.raises(ValueError, match="not finite"):
        meshes.from_arrays(np.full((3, 3), np.nan), [[0, 1, 2]])


def test_only_surfaces_and_plane_curves_have_an_orientation():
    for mesh in (meshes.rectangle(), meshes.box(h=0.5), meshes.interval()):
        with pytest.raises(ValueError, match="surface in space or a curve in the plane"):
            meshes.orientation(mesh)


# ---------------------------------------------------------------- files


@pytest.mark.parametrize("suffix", [".stl", ".obj", ".ply", ".vtu", ".vtk"])
def test_surface_files_are_merged_and_turned_outward(tmp, suffix):
    points, corners = octahedron()
    # Each triangle has points of its own, one more collapses, one point is not used.
    torn = np.concatenate([points[flipped(corners)].reshape(-1, 3), points[[0, 0, 1]], [[9, 9, 9]]])
    torn = torn + np.array([10.0, 20.0, 30.0])
    blocks = [("triangle", np.arange(len(torn) - 1, dtype=np.int32).reshape(-1, 3))]
    path = tmp / f"torn{suffix}"

    def write():
        with np.errstate(invalid="ignore"):
            meshio.write(path, meshio.Mesh(torn, blocks))

    on_root(write)
    mesh = meshes.read(path)
    assert mesh.geometry.index_map().size_global == 6
    assert cells(mesh) == 8
    assert np.all(meshes.orientation(mesh) == 1)
    assert volume(mesh) == pytest.approx(4 / 3, rel=1e-6)


def test_binary_stl(tmp):
    points, corners = octahedron()
    path = tmp / "octahedron.stl"
    on_root(lambda: meshio.write(path, meshio.Mesh(points, [("triangle", corners)]), binary=True))
    assert volume(meshes.read(path)) == pytest.approx(4 / 3, rel=1e-6)


@pytest.mark.parametrize("suffix", [".obj", ".vtu"])
def test_quadrilaterals_stay_unless_mixed_with_triangles(tmp, suffix):
    points, corners = cube(2)
    around = corners[:, [0, 1, 3, 2]]
    cut = np.concatenate([around[:4, [0, 1, 2]], around[:4, [0, 2, 3]]])

    def write():
        meshio.write(tmp / f"quads{suffix}", meshio.Mesh(points, [("quad", around)]))
        mixed = meshio.Mesh(points, [("quad", around[4:]), ("triangle", cut)])
        meshio.write(tmp / f"mixed{suffix}", mixed)

    on_root(write)
    for name, number in (("quads", 24), ("mixed", 48)):
        mesh = meshes.read(tmp / f"{name}{suffix}")
        assert cells(mesh) == number
        assert volume(mesh) == pytest.approx(1, rel=1e-13)


@pytest.mark.parametrize("suffix", [".vtu", ".vtk"])
def test_cells_and_facets_keep_their_tags(tmp, suffix):
    points = np.array([[0, 0, 0], [1, 0, 0], [1, 1, 0], [0, 1, 0], [2, 0, 0], [2, 1, 0]], float)
    blocks = [
        ("triangle", np.array([[0, 1, 2], [0, 2, 3], [1, 4, 5], [1, 5, 2]])),
        ("line", np.array([[0, 1], [1, 4], [4, 5]])),
    ]
    tags = {"region": [np.array([3, 3, 7, 7]), np.array([1, 1, 2])]}
    path = tmp / f"tags{suffix}"
    on_root(lambda: meshio.write(path, meshio.Mesh(points, blocks, cell_data=tags)))
    data = meshes.read_data(path)
    assert data.mesh.geometry.dim == 2
    part, side = dx(subdomain_data=data.cell_tags), ufl.ds(subdomain_data=data.facet_tags)
    x = SpatialCoordinate(data.mesh)
    assert integral(x[0] * part(3)) == pytest.approx(0.5)
    assert integral(x[0] * part(7)) == pytest.approx(1.5)
    assert integral(x[0] * side(1)) == pytest.approx(2)
    assert integral(x[0] * side(2)) == pytest.approx(2)
    lines = meshes.read(path, dim=1)
    assert (lines.topology.dim, cells(lines)) == (1, 3)
    assert meshes.read(path, gdim=3).geometry.dim == 3


@pytest.mark.parametrize(
    ("kind", "cell", "exact"),
    [
        ("triangle6", "triangle", 1 / 2),
        ("quad9", "quadrilateral", 1),
        ("tetra10", "tetrahedron", 1 / 6),
        ("hexahedron27", "hexahedron", 1),
    ],
)
def test_curved_cells_of_vtu_keep_their_nodes(tmp, kind, cell, exact):
    element = basix.ufl.element("Lagrange", cell, 2).basix_element
    order = np.argsort(dolfinx.cpp.io.perm_vtk(getattr(CellType, cell), element.dim))
    points = element.points[order]
    bent = np.column_stack([points, np.zeros((len(points), 3 - points.shape[1]))])
    bent[:, 0] += 0.1 * bent[:, 1] ** 2
    path = tmp / "bent.vtu"
    nodes = np.arange(element.dim)[None]
    on_root(lambda: meshio.write(path, meshio.Mesh(bent, [(kind, nodes)])))
    mesh = meshes.read(path)
    # The shear x + y^2/10 keeps the volume.
    assert area(mesh) == pytest.approx(exact, rel=1e-13)


@pytest.mark.parametrize("encoding", [XDMFFile.Encoding.HDF5, XDMFFile.Encoding.ASCII])
def test_xdmf_keeps_mesh_and_tags(tmp, encoding):
    path = tmp / "square.xdmf"
    square = dolfinx.mesh.create_unit_square(MPI.COMM_SELF, 4, 4)
    square.topology.create_connectivity(1, 2)
    halves = dolfinx.mesh.locate_entities(square, 2, lambda x: x[0] < 0.51)
    left = dolfinx.mesh.locate_entities_boundary(square, 1, lambda x: np.isclose(x[0], 0))
    tags = [
        dolfinx.mesh.meshtags(square, 2, halves, np.full(halves.size, 5, dtype=np.int32)),
        dolfinx.mesh.meshtags(square, 1, left, np.full(left.size, 6, dtype=np.int32)),
    ]
    tags[0].name, tags[1].name = "half", "left"

    def write():
        with XDMFFile(MPI.COMM_SELF, path, "w", encoding=encoding) as file:
            file.write_mesh(square)
            for tag in tags:
                file.write_meshtags(tag, square.geometry)

    on_root(write)
    data = meshes.read_data(path)
    x = SpatialCoordinate(data.mesh)
    assert area(data.mesh, dx(5, subdomain_data=data.cell_tags)) == pytest.approx(0.5)
    assert integral(x[1] * ufl.ds(6, subdomain_data=data.facet_tags)) == pytest.approx(0.5)


def test_xdmf_with_inline_data_and_integers_on_cells(tmp):
    path = tmp / "inline.xdmf"
    text = """<Xdmf Version="3.0"><Domain><Grid Name="Grid"><Geometry GeometryType="XYZ">
    <DataItem DataType="Float" Dimensions="4 3" Format="XML" Precision="8">
    0 0 0  1 0 0  0 1 0  1 1 0
    </DataItem></Geometry><Topology TopologyType="Triangle" NumberOfElements="2"
    NodesPerElement="3"><DataItem DataType="Int" Dimensions="2 3" Format="XML" Precision="8">
    0 1 2  1 2 3
    </DataItem></Topology><Attribute Name="tag" AttributeType="Scalar" Center="Cell">
    <DataItem DataType="Int" Dimensions="2" Format="XML" Precision="8">7 9</DataItem></Attribute>
    </Grid></Domain></Xdmf>"""
    on_root(lambda: path.write_text(text))
    data = meshes.read_data(path)
    assert data.mesh.geometry.dim == 2
    x = SpatialCoordinate(data.mesh)
    assert integral(x[0] * dx(9, subdomain_data=data.cell_tags)) == pytest.approx(1 / 3)


GEO = """SetFactory("OpenCASCADE");
DefineConstant[ a = {1, Name "Parameters/a"} ];
Box(1) = {0, 0, 0, a, 1, 1};
Box(2) = {a, 0, 0, 1, 1, 1};
BooleanFragments{ Volume{1}; Delete; }{ Volume{2}; Delete; }
Physical Volume("left", 11) = {1};
Physical Volume("right", 12) = {2};
Physical Surface("inlet", 21) = {1};
"""


def test_geo_gives_volumes_with_physical_tags(tmp):
    path = tmp / "boxes.geo"
    on_root(lambda: path.write_text(GEO))
    data = meshes.read_data(path, h=0.5, parameters={"a": 2.0})
    assert data.physical_groups["right"] == (3, 12)
    part = dx(subdomain_data=data.cell_tags)
    assert [area(data.mesh, part(i)) for i in (11, 12)] == pytest.approx([2, 1])
    side = ufl.ds(subdomain_data=data.facet_tags)
    assert area(data.mesh, side(21)) == pytest.approx(1)


def test_geo_gives_the_outer_surface_of_several_bodies(tmp):
    path = tmp / "boxes.geo"
    on_root(lambda: path.write_text(GEO))
    data = meshes.read_data(path, h=0.5, dim=2)
    assert volume(data.mesh) == pytest.approx(2)
    assert area(data.mesh) == pytest.approx(10)
    assert np.all(meshes.orientation(data.mesh) == 1)
    tag = data.physical_groups["inlet"].tag
    part = dx(subdomain_data=data.cell_tags)
    assert area(data.mesh, part(tag)) == pytest.approx(1)
    assert area(data.mesh, part(data.physical_groups["rest"].tag)) == pytest.approx(9)


def test_geo_gives_the_boundary_curve_of_a_plane_domain(tmp):
    path = tmp / "disk.geo"
    on_root(lambda: path.write_text('SetFactory("OpenCASCADE"); Disk(1) = {0, 0, 0, 2, 2};'))
    mesh = meshes.read(path, h=0.1, dim=1)
    assert (mesh.topology.dim, mesh.geometry.dim) == (1, 2)
    assert np.all(meshes.orientation(mesh) == 1)
    assert volume(mesh) == pytest.approx(4 * np.pi, rel=1e-2)


def test_geo_keeps_its_own_sizes_and_drops_points_without_cells(tmp):
    path = tmp / "circle.geo"
    text = """Point(1) = {0, 0, 0, 1}; Point(2) = {1, 0, 0, 0.5}; Point(3) = {-1, 0, 0, 0.05};
    Circle(1) = {2, 1, 3}; Circle(2) = {3, 1, 2}; Curve Loop(1) = {1, 2};
    Plane Surface(1) = {1}; Physical Surface("inside") = {1}; Physical Point("centre") = {1};
    Physical Point("right", 5) = {2};"""
    on_root(lambda: path.write_text(text))
    data = meshes.read_data(path)
    assert set(data.physical_groups) == {"inside", "right"}
    mesh = data.mesh
    x = mesh.geometry.x[: mesh.geometry.index_map().size_local]
    right = comm.allreduce(np.count_nonzero(x[:, 0] > 0.5))
    left = comm.allreduce(np.count_nonzero(x[:, 0] < -0.5))
    assert left > 5 * right
    assert not comm.allreduce(np.any(np.linalg.norm(x, axis=1) < 1e-14), MPI.LOR)


@pytest.mark.parametrize("suffix", [".step", ".stp", ".brep"])
def test_cad_bodies_give_their_volume_or_their_surface(tmp, suffix):
    path = tmp / f"body{suffix}"

    def write():
        gmsh.initialize(interruptible=False)
        gmsh.option.setNumber("General.Terminal", 0)
        gmsh.model.occ.cut([(3, gmsh.model.occ.addBox(0, 0, 0, 2, 2, 1))],
                           [(3, gmsh.model.occ.addCylinder(1, 1, 0, 0, 0, 1, 0.5))])  # fmt: skip
        gmsh.model.occ.synchronize()
        export = tmp / ("body.brep" if suffix == ".brep" else "body.step")
        gmsh.write(str(export))
        gmsh.finalize()
        export.rename(path)

    on_root(write)
    # STEP files of Gmsh are in millimetres, and so it reads them.
    hollow = 4 - np.pi / 4
    assert area(meshes.read(path, h=0.3, order=2)) == pytest.approx(hollow, rel=1e-3)
    surface = meshes.read(path, h=0.2, dim=2)
    assert euler(surface) == 0
    assert np.all(meshes.orientation(surface) == 1)
    assert volume(surface) == pytest.approx(hollow, rel=1e-2)
    assert cells(meshes.read(path, dim=2)) > 1000


@pytest.mark.parametrize("order", [1, 2])
@pytest.mark.parametrize("tagged", [True, False])
def test_msh_round_trip(tmp, order, tagged):
    path = tmp / "ball.msh"

    def write():
        gmsh.initialize(interruptible=False)
        gmsh.option.setNumber("General.Terminal", 0)
        gmsh.model.occ.addSphere(0, 0, 0, 1)
        gmsh.model.occ.synchronize()
        if tagged:
            gmsh.model.addPhysicalGroup(3, [1], 4, name="ball")
            gmsh.model.addPhysicalGroup(2, [1], 5, name="skin")
        gmsh.option.setNumber("Mesh.MeshSizeMax", 0.4)
        gmsh.model.mesh.generate(3)
        gmsh.model.mesh.setOrder(order)
        gmsh.write(str(path))
        gmsh.finalize()

    on_root(write)
    data = meshes.read_data(path)
    assert data.mesh.geometry.cmaps[0].degree == order
    assert area(data.mesh) == pytest.approx(4 * np.pi / 3, rel=0.1 if order == 1 else 5e-3)
    assert set(data.physical_groups) == ({"ball", "skin"} if tagged else {"rest"})
    if tagged:
        skin = area(data.mesh, ufl.ds(5, subdomain_data=data.facet_tags))
        assert skin == pytest.approx(4 * np.pi, rel=0.1 if order == 1 else 5e-3)
    surface = meshes.read(path, dim=2)
    assert np.all(meshes.orientation(surface) == 1)
    assert volume(surface) == pytest.approx(area(data.mesh), rel=1e-12)


def test_curved_surfaces_look_outward(tmp):
    path = tmp / "ball.geo"
    on_root(lambda: path.write_text('SetFactory("OpenCASCADE"); Sphere(1) = {0, 0, 0, 1};'))
    mesh = meshes.read(path, h=0.3, dim=2, order=2)
    assert mesh.geometry.cmaps[0].degree == 2
    assert volume(mesh) == pytest.approx(4 * np.pi / 3, rel=1e-3)


@pytest.mark.parametrize("suffix", [".stl", ".msh"])
def test_a_poor_triangulation_is_remeshed(tmp, suffix):
    points, corners = welded(*cube(1))
    halves = corners[:, [0, 1, 3, 0, 3, 2]].reshape(-1, 3)
    points = points * np.array([1.0, 2.0, 4.0])
    path = tmp / f"box{suffix}"
    kind = {} if suffix == ".stl" else {"file_format": "gmsh22", "binary": False}
    on_root(lambda: meshio.write(path, meshio.Mesh(points, [("triangle", halves)]), **kind))
    assert cells(meshes.read(path)) == 12
    mesh = meshes.read(path, h=0.25)
    assert np.all(meshes.orientation(mesh) == 1)
    assert volume(mesh) == pytest.approx(8, rel=1e-6)
    assert area(mesh) / cells(mesh) == pytest.approx(np.sqrt(3) / 4 * 0.25**2, rel=0.2)


def test_a_gmsh_session_of_the_caller_goes_on(tmp):
    def start():
        gmsh.initialize(interruptible=False)
        gmsh.option.setNumber("General.Terminal", 0)
        gmsh.option.setNumber("Mesh.MeshSizeMax", 0.7)
        gmsh.model.add("mine")
        gmsh.model.occ.addSphere(0, 0, 0, 1)

    def look():
        assert gmsh.model.list() == ["", "mine"]
        assert gmsh.model.getCurrent() == "mine"
        assert gmsh.option.getNumber("Mesh.MeshSizeMax") == 0.7
        gmsh.model.occ.synchronize()
        assert gmsh.model.getEntities(3) == [(3, 1)]
        gmsh.finalize()

    path = tmp / "boxes.geo"
    on_root(lambda: path.write_text(GEO))
    on_root(start)
    for a in (1.0, 2.0):
        assert area(meshes.read(path, h=0.5, parameters={"a": a})) == pytest.approx(1 + a)
    assert area(meshes.read(path, h=0.5)) == pytest.approx(2)
    on_root(look)
    assert comm.rank > 0 or not gmsh.isInitialized()


# ---------------------------------------------------------------- bad input


def test_a_missing_file_is_reported_on_every_rank(tmp):
    for suffix in (".geo", ".msh", ".step", ".stl", ".xdmf", ".vtu"):
        with pytest.raises(FileNotFoundError, match="nothing"):
            meshes.read(tmp / f"nothing{suffix}")


def test_an_unknown_format_is_reported_on_every_rank(tmp):
    on_root(lambda: (tmp / "mesh.foo").write_text("x"))
    with pytest.raises(ValueError, match=r"unknown mesh format; known are \.brep \.geo"):
        meshes.read(tmp / "mesh.foo")


@pytest.mark.parametrize(
    "suffix",
    [".geo", ".msh", ".step", ".brep", ".stl", ".obj", ".ply", ".vtu", ".vtk", ".xdmf"],
)
@pytest.mark.parametrize("content", ["", "this is not a mesh\n"])
def test_broken_files_are_reported_on_every_rank(tmp, suffix, content):
    path = tmp / f"broken{suffix}"
    on_root(lambda: path.write_text(content))
    with pytest.raises(ValueError, match=f"broken{suffix}"):
        meshes.read(path)
    # A file that failed must not spoil the next one.
    sound = tmp / "boxes.geo"
    on_root(lambda: sound.write_text(GEO))
    assert cells(meshes.read(sound, h=0.5)) > 0


def test_what_a_file_does_not_hold_is_reported_on_every_rank(tmp):
    points, corners = octahedron()
    tetra = np.array([[0, 2, 4, 1]])
    wedge = np.array([[0, 2, 4, 1, 3, 5]])

    def write():
        (tmp / "boxes.geo").write_text(GEO)
        (tmp / "twice.geo").write_text(GEO + "Physical Volume(13) = {1};")
        meshio.write(tmp / "surface.stl", meshio.Mesh(points, [("triangle", corners)]))
        meshio.write(tmp / "tetra.vtu", meshio.Mesh(points, [("tetra", tetra)]))
        meshio.write(tmp / "wedge.vtu", meshio.Mesh(points, [("wedge", wedge)]))
        hexahedron = np.array([[0, 1, 2, 3, 4, 5, 0, 1]])
        mixed = meshio.Mesh(points, [("tetra", tetra), ("hexahedron", hexahedron)])
        meshio.write(tmp / "mixed.vtu", mixed)

    on_root(write)
    for name, options, message in (
        ("boxes.geo", {"parameters": {"b": 1.0}}, "no parameter 'b'"),
        ("boxes.geo", {"dim": 1}, "dim is 3 or 2, not 1"),
        ("boxes.geo", {"h": -1.0}, "h must be positive"),
        ("boxes.geo", {"order": 3}, "1 or 2, not 3"),
        ("twice.geo", {}, "two physical groups"),
        ("surface.stl", {"dim": 3}, r"no cells of dimension 3, only of \[2\]"),
        ("surface.stl", {"parameters": {"a": 1.0}}, "only .geo files have parameters"),
        ("surface.stl", {"order": 3}, "1 or 2, not 3"),
        ("tetra.vtu", {"h": 0.1}, "h remeshes flat triangles"),
        ("wedge.vtu", {}, "'wedge' are not supported"),
        ("mixed.vtu", {}, "several kinds"),
    ):
        with pytest.raises(ValueError, match=message):
            meshes.read(tmp / name, **options)


# ---------------------------------------------------------------- the files in meshes/


@pytest.mark.parametrize(
    ("name", "characteristic"), [("flange", -12), ("gear", -12), ("dumbbell", 2), ("links", 0)]
)
def test_bodies_in_meshes_have_closed_surfaces(name, characteristic):
    mesh = meshes.read(GEOMETRY / f"{name}.geo", dim=2, parameters={"size": 0.15})
    assert np.all(meshes.orientation(mesh) == 1)
    assert euler(mesh) == characteristic
    assert volume(mesh) > 0


def test_plane_domain_in_meshes_has_a_film_and_a_frame():
    data = meshes.read_data(GEOMETRY / "flower.geo", parameters={"petals": 3, "depth": 0.2})
    assert data.mesh.geometry.dim == 2
    # 1/2 int (1 + a cos 3t)^2 dt
    assert area(data.mesh) == pytest.approx(np.pi * (1 + 0.2**2 / 2), rel=3e-3)
    frame = ufl.ds(data.physical_groups["frame"].tag, subdomain_data=data.facet_tags)
    assert area(data.mesh, frame) == pytest.approx(area(data.mesh, ufl.ds))
    curve = meshes.read(GEOMETRY / "flower.geo", dim=1)
    assert np.all(meshes.orientation(curve) == 1)
