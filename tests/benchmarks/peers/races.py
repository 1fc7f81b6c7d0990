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
    """

    problem: str
    function: str
    options: dict[str, Any]
    codes: tuple[Code, ...]
    agreement: float


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
    names = {"cholmod": "CHOLMOD", "jacobi": "CG, Jacobi", "amg": "CG, pyamg"}
    return Code(f"scikit-fem, {names[solver]}", "skfem_cases.py", {"solver": solver}, **options)


def ngsolve(solver: str, **options: Any) -> Code:
    name = "CG, Jacobi" if solver == "jacobi" else solver
    return Code(f"NGSolve, {name}", "ngsolve_cases.py", {"solver": solver}, **options)


def igl(solver: str, name: str, **options: Any) -> Code:
    return Code(f"libigl, {name}", "igl_cases.py", {"solver": solver}, **options)


def heat2d() -> list[Race]:
    direct = (FLOWS, skfem("cholmod"), ngsolve("sparsecholesky"))
    few = {256: (*direct, skfem("amg", repetitions=3)), 512: direct}
    return [
        Race(
            f"n = {n}, {steps} steps",
            "heat",
            {"n": n, "dim": 2, "tau": 1e-3, "steps": steps},
            few[n] if steps == 50 else direct,
            1e-6,
        )
        for n in (256, 512)
        for steps in (50, 500)
    ]


def heat3d() -> list[Race]:
    codes = (FLOWS, skfem("jacobi"), skfem("cholmod"), ngsolve("jacobi"))
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


CASES = {
    "heat2d": Case(
        "Heat equation in the plane",
        "P1 on the unit square, n x n cells of two triangles, implicit Euler, tau = 1e-3.",
        heat2d,
    ),
    "heat3d": Case(
        "Heat equation in space",
        "P1 on the unit cube, n x n x n cells of six tetrahedra, implicit Euler.",
        heat3d,
    ),
    "mean_curvature": Case(
        "Mean curvature flow of a sphere",
        "flows takes its default scheme, which lets nodes slide along the surface, the peers that "
        "of Dziuk; matrices are those of the surface of each step. The mean radius is compared.",
        mean_curvature,
    ),
}
