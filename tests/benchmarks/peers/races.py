"""The races: one problem, the codes that solve it, and how closely they must agree."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Code:
    """One way to solve a problem.

    Attributes:
        name: The code and its solver.
        script: The worker, in this folder.
        options: What it wants to know besides the options of the race.
        repetitions: At most so many repetitions, for slow ones.
    """

    name: str
    script: str
    options: dict[str, Any] = field(default_factory=dict)
    repetitions: int = 5


@dataclass(frozen=True)
class Race:
    """One problem, solved by flows first and by its peers.

    Attributes:
        problem: What is solved, in a line.
        function: Name of the case in the workers.
        options: Options for every code.
        codes: The codes, flows first.
        agreement: Largest relative difference of the samples to those of flows.
        exact: Whether the sample is an error itself, and has to be below ``agreement``.
    """

    problem: str
    function: str
    options: dict[str, Any]
    codes: tuple[Code, ...]
    agreement: float
    exact: bool = False


@dataclass(frozen=True)
class Case:
    """Races that belong together.

    Attributes:
        title: Heading on the page.
        about: What the reader must know.
        races: Makes the races.
    """

    title: str
    about: str
    races: Callable[[], list[Race]]


FLOWS = Code("flows", "ours.py")


def skfem(solver: str, **options: Any) -> Code:
    names = {"cholmod": "CHOLMOD", "jacobi": "CG, Jacobi", "amg": "CG, pyamg", "superlu": "SuperLU"}
    return Code(f"scikit-fem, {names[solver]}", "skfem_cases.py", {"solver": solver}, **options)


def ngsolve(solver: str, **options: Any) -> Code:
    name = "CG, Jacobi" if solver == "jacobi" else solver
    return Code(f"NGSolve, {name}", "ngsolve_cases.py", {"solver": solver}, **options)


def igl(solver: str, name: str, **options: Any) -> Code:
    return Code(f"libigl, {name}", "igl_cases.py", {"solver": solver}, **options)


def heat2d() -> list[Race]:
    """With few steps factors must be cheap, with many solves must; iterations are no match here."""

    def codes(n: int, steps: int) -> tuple[Code, ...]:
        slow = 3 if steps > 50 else 5
        direct = (
            FLOWS,
            skfem("cholmod", repetitions=slow if n > 256 else 5),
            ngsolve("sparsecholesky", repetitions=slow),
        )
        return (*direct, skfem("amg", repetitions=3)) if (n, steps) == (256, 50) else direct

    return [
        Race(
            f"n = {n}, {steps} steps",
            "heat",
            {"n": n, "dim": 2, "tau": 1e-3, "steps": steps},
            codes(n, steps),
            1e-6,
        )
        for n in (256, 512)
        for steps in (50, 500)
    ]


def heat3d() -> list[Race]:
    codes = (FLOWS, skfem("jacobi"), skfem("cholmod", repetitions=3), ngsolve("jacobi"))
    return [
        Race(
            f"n = 48, tau = {tau:g}, 50 steps",
            "heat",
            {"n": 48, "dim": 3, "tau": tau, "steps": 50},
            codes,
            1e-6,
        )
        for tau in (1e-3, 1e-2)
    ]


def mean_curvature() -> list[Race]:
    """The sphere shrinks by R^2 = 1 - 4t."""
    codes = (
        FLOWS,
        igl("conjugate_gradients", "CG of scipy, Jacobi"),
        igl("cholmod", "CHOLMOD"),
        Code("NGSolve, CG, Jacobi", "ngsolve_cases.py", repetitions=3),
    )
    return [
        Race(
            f"{20 * n * n} triangles, 50 steps to R = 0.894",
            "mean_curvature",
            {"n": n, "tau": 1e-3, "steps": 50},
            codes if n < 90 else codes[:2],
            1e-3,
        )
        for n in (23, 45, 90)
    ]


def allen_cahn() -> list[Race]:
    eps = 4 / 256
    return [
        Race(
            "n = 256, 10 steps",
            "allen_cahn",
            {"n": 256, "tau": eps**2 / 2, "steps": 10, "eps": eps},
            (FLOWS, Code("NGSolve, compiled, CG, Jacobi", "ngsolve_cases.py", repetitions=3)),
            1e-6,
        )
    ]


def cahn_hilliard() -> list[Race]:
    eps = 4 / 128
    return [
        Race(
            "n = 128, 10 steps",
            "cahn_hilliard",
            {"n": 128, "tau": eps**3, "steps": 10, "eps": eps},
            (FLOWS, Code("NGSolve, compiled, sparsecholesky", "ngsolve_cases.py", repetitions=3)),
            1e-6,
        )
    ]


def porous_medium() -> list[Race]:
    peers = [
        Code("NGSolve, compiled, UMFPACK", "ngsolve_cases.py", repetitions=3),
        skfem("superlu", repetitions=3),
    ]
    return [
        Race(
            "n = 128, 50 steps",
            "porous_medium",
            {"n": 128, "tau": 5e-3, "steps": 50},
            (FLOWS, *peers),
            1e-6,
        )
    ]


def porous_medium_accuracy() -> list[Race]:
    ours = Code(
        "flows, BDF2, adaptive, n = 200",
        "ours.py",
        {"n": 200, "first": 2e-3, "tolerance": 8e-4},
    )
    euler = Code(
        "py-pde, numba, Euler, n = 188",
        "pde_cases.py",
        {"n": 188, "tau": 5 / 188**2, "solver": "euler"},
        repetitions=3,
    )
    return [
        Race(
            "to an error of 1.3e-4",
            "porous_medium_error",
            {"until": 0.35},
            (ours, euler),
            1.3e-4,
            exact=True,
        )
    ]


def fokker_planck() -> list[Race]:
    """FiPy takes another mean of the fluxes, and cells at the nodes."""
    return [
        Race(
            "n = 128, 50 steps",
            "fokker_planck",
            {"n": 128, "tau": 1e-2, "steps": 50},
            (
                FLOWS,
                Code("FiPy, BiCGSTAB", "fipy_cases.py", {"solver": "bicgstab"}),
                Code("FiPy, LU", "fipy_cases.py", {"solver": "lu"}, repetitions=3),
            ),
            1e-2,
        )
    ]


def harmonic_map() -> list[Race]:
    return [
        Race(
            f"{3 * (n + 1) ** 2} unknowns, 50 steps",
            "harmonic_map",
            {"n": n, "tau": 1e-3, "steps": 50},
            (FLOWS,),
            0.0,
        )
        for n in (57, 182)
    ]


def willmore() -> list[Race]:
    return [
        Race(
            f"{20 * 4**k} curved triangles, 10 steps",
            "willmore",
            {"refinements": k, "tau": 1e-3, "steps": 10},
            (FLOWS,),
            0.0,
        )
        for k in (3, 4)
    ]


SQUARE = "P1 on a square, n x n cells of two triangles"

CASES = {
    "heat2d": Case(
        "Heat equation in the plane",
        f"{SQUARE}, implicit Euler, tau = 1e-3.",
        heat2d,
    ),
    "heat3d": Case(
        "Heat equation in space",
        "P1 on the unit cube, n x n x n cells of six tetrahedra, implicit Euler.",
        heat3d,
    ),
    "allen_cahn": Case(
        "Allen-Cahn equation",
        f"{SQUARE}, eps = 4/n, tau = eps^2/2, implicit Euler, exact quadrature. NGSolve compiles "
        "the integrand, assembles the linear terms once and takes inexact Newton steps.",
        allen_cahn,
    ),
    "cahn_hilliard": Case(
        "Cahn-Hilliard equation",
        f"{SQUARE}, eps = 4/n, tau = eps^3, implicit Euler, exact quadrature. NGSolve solves for "
        "both fields.",
        cahn_hilliard,
    ),
    "porous_medium": Case(
        "Porous medium equation",
        f"{SQUARE} of side 4, m = 2, Barenblatt's solution from t = 0.1, tau = 5e-3, implicit "
        "Euler, lumped masses: the same discretisation in each code.",
        porous_medium,
    ),
    "porous_medium_accuracy": Case(
        "Porous medium equation, time to an accuracy",
        "Barenblatt's solution with m = 2 from t = 0.1 to 0.35 on a square of side 4: each code by "
        "its cheapest way to an L1 error of 1.3e-4 at its nodes, which *differs by* shows. "
        "py-pde takes explicit steps, as long as they are stable; that numba takes a minute to "
        "compile them does not count.",
        porous_medium_accuracy,
    ),
    "fokker_planck": Case(
        "Fokker-Planck equation",
        "Two wells on a square of side 4, implicit Euler, tau = 1e-2, fluxes of Scharfetter and "
        "Gummel; FiPy takes their finite volume form, with cells at the nodes.",
        fokker_planck,
    ),
    "mean_curvature": Case(
        "Mean curvature flow of a sphere",
        "flows takes its default scheme, which lets nodes slide along the surface, the peers that "
        "of Dziuk; matrices are those of the surface of each step. The mean radius is compared.",
        mean_curvature,
    ),
    "harmonic_map": Case(
        "Harmonic map heat flow",
        "Maps of a square into the sphere, tau = 1e-3, of second order in time. No peer has this "
        "flow: the seconds are for later versions to compare with.",
        harmonic_map,
    ),
    "willmore": Case(
        "Willmore flow",
        "An ellipsoid with the half axes 1, 1, 1.5, curved triangles, tau = 1e-3. No peer has this "
        "flow: the seconds are for later versions to compare with.",
        willmore,
    ),
}
