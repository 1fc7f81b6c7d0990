"""Surfaces of files, meshed anew: they stay the same surfaces, and their cells do not fold."""

from pathlib import Path

import flows.mesh as meshes

import meshio
import numpy as np
import pytest
import ufl
from mpi4py import MPI
from pyvista import examples
from tools import area, cells, comm, degree, on_root, volume
from ufl import dx

GEOMETRY = Path(__file__).parents[1] / "meshes"


def euler(mesh):
    for dim in (0, 1, 2):
        mesh.topology.create_entities(dim)
    v, e, f = (mesh.topology.index_map(dim).size_global for dim in (0, 1, 2))
    return v - e + f


def largest(values):
    return comm.allreduce(float(np.max(np.abs(values), initial=0.0)), MPI.MAX)


def arrays(mesh):
    """Points and cells of a mesh on one process."""
    return mesh.geometry.x, mesh.geometry.dofmaps[0]


def least_area_element(mesh):
    """Least area element along the flat normal over that of the flat cell, midway and inside."""
    x = mesh.geometry.x[mesh.geometry.dofmaps[0]]
    flat = np.cross(x[:, 1] - x[:, 0], x[:, 2] - x[:, 0])
    s, t = (a.ravel() for a in np.meshgrid(np.linspace(0, 1, 7), np.linspace(0, 1, 7)))
    s, t = s[s + t <= 1], t[s + t <= 1]
    r, o = 1 - s - t, np.zeros_like(s)
    ds = np.array([1 - 4 * r, 4 * s - 1, o, 4 * t, -4 * t, 4 * (r - s)])
    dt = np.array([1 - 4 * r, o, 4 * t - 1, 4 * s, 4 * (r - t), -4 * s])
    normal = np.cross(np.einsum("nq,cni->cqi", ds, x), np.einsum("nq,cni->cqi", dt, x))
    ratio = np.einsum("cqi,ci->cq", normal, flat) / np.sum(flat**2, axis=1)[:, None]
    return comm.allreduce(float(ratio.min(initial=np.inf)), MPI.MIN)


def test_remeshed_curved_surfaces_follow_the_file_and_its_boundary(tmp):
    fine = meshes.tube(1.0, 1.0, h=0.05, comm=MPI.COMM_SELF)
    points, nodes = arrays(fine)
    path = tmp / "tube.stl"
    on_root(lambda: meshio.write(path, meshio.Mesh(points, [("triangle", nodes)])))
    straight, curved = (meshes.read(path, h=0.4, order=k) for k in (1, 2))
    assert (degree(straight), degree(curved)) == (1, 2)
    assert cells(curved) < 120
    for measure, exact in ((dx, 2 * np.pi), (ufl.ds, 4 * np.pi)):
        errors = [abs(area(mesh, measure) / exact - 1) for mesh in (straight, curved)]
        # What is left is the polyhedron in the file.
        assert errors[1] < 1e-3 < 4e-3 < errors[0]
    # The nodes lie on the facets of the file.
    assert largest(np.hypot(*curved.geometry.x.T[:2]) - 1) < 1 - np.cos(0.05 / 2) + 1e-4
    assert least_area_element(curved) > 0.5


def test_bodies_of_few_triangles_and_several_components_are_remeshed(tmp):
    x = np.array([[0, 0, 0], [1, 0, 0], [0, 1, 0], [0, 0, 1.0]])
    nodes = np.array([[0, 2, 1], [0, 1, 3], [0, 3, 2], [1, 2, 3]])
    points = np.concatenate([x, 2 * x + 3, 3 * x - 7])
    three = np.concatenate([nodes, nodes + 4, nodes[:, ::-1] + 8])
    path = tmp / "tetrahedra.stl"
    on_root(lambda: meshio.write(path, meshio.Mesh(points, [("triangle", three)])))
    mesh = meshes.read(path, h=0.3, order=2)
    assert np.all(meshes.orientation(mesh) == 1)
    assert volume(mesh) == pytest.approx(36 / 6, rel=1e-6)
    assert least_area_element(mesh) > 0.9


def test_a_body_of_many_components_keeps_them_all():
    # Some legs are thinner than the edges of the new mesh.
    for mesh in (meshes.read(examples.antfile, h=h) for h in (None, 1.7)):
        assert np.all(meshes.orientation(mesh) == 1)
        assert euler(mesh) == 30
        assert volume(mesh) == pytest.approx(482.1, rel=0.03)


def test_a_surface_that_branches_is_not_remeshed_into_another():
    with pytest.raises(ValueError, match=r"airplane\.ply cannot be meshed: edges of 50 change its"):
        meshes.read(examples.planefile, h=50)


def test_curved_cells_of_a_coarse_body_are_not_folded():
    mesh = meshes.read(GEOMETRY / "flange.geo", dim=2, h=0.3, order=2)
    assert degree(mesh) == 2
    assert np.all(meshes.orientation(mesh) == 1)
    assert least_area_element(mesh) > 0.1
