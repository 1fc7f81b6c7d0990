"""What a functional written in UFL must tell before it is differentiated."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from flows.assembly import assembler
from flows.jit import jit_options

import dolfinx
import numpy as np
import ufl
from dolfinx import fem
from dolfinx.la import InsertMode
from ufl.algorithms import expand_derivatives
from ufl.algorithms.analysis import extract_type
from ufl.algorithms.apply_algebra_lowering import apply_algebra_lowering
from ufl.algorithms.compute_form_data import compute_form_data
from ufl.algorithms.estimate_degrees import estimate_total_polynomial_degree
from ufl.corealg.map_dag import map_expr_dag
from ufl.corealg.multifunction import MultiFunction
from ufl.corealg.traversal import unique_pre_traversal
from ufl.domain import extract_unique_domain

__all__ = [
    "VERTEX",
    "assembled",
    "at_zero",
    "compiled",
    "depends_on",
    "everywhere",
    "fix_quadrature",
    "homogeneous",
    "integrate",
    "lump",
    "lumpable",
    "mass_measure",
    "nodal",
    "polynomial_degree",
    "quadratic_part",
    "same_quadrature",
    "substitute",
    "variation",
    "zero",
]

VERTEX = {"quadrature_rule": "vertex", "quadrature_degree": 1}
"""The vertex rule: with P1 elements it lumps masses, and node by node nothing is coupled."""


def zero(form: ufl.Form | None) -> bool:
    """Whether a form vanishes identically once its derivatives are carried out."""
    return form is None or form.empty()


def depends_on(form: ufl.Form, field: fem.Function) -> bool:
    """Whether ``field`` occurs in ``form``."""
    return field in form.coefficients()


def substitute(form: ufl.Form, mapping: Mapping[Any, Any]) -> ufl.Form:
    """Replace functions by expressions; derivatives are carried out before and after."""
    mapping = {old: new for old, new in mapping.items() if old is not new}
    if not mapping:
        return form
    return expand_derivatives(ufl.replace(expand_derivatives(form), mapping))


def _estimated_degree(form: ufl.Form) -> int:
    bends = max(_bend(integral.ufl_domain()) for integral in form.integrals())
    if bends > 1:
        # UFL counts the factors of the geometry as if they were rough: six times the points.
        return max(int(estimate_total_polynomial_degree(expand_derivatives(form))), 2 * bends)
    return _degree_of_ufl(form)


def _degree_of_ufl(form: ufl.Form) -> int:
    data = compute_form_data(
        form,
        do_apply_function_pullbacks=True,
        do_apply_integral_scaling=True,
        do_apply_geometry_lowering=True,
        preserve_geometry_types=(ufl.classes.Jacobian,),
    )
    return max(
        (
            integral.metadata()["estimated_polynomial_degree"]
            for integrals in data.integral_data
            for integral in integrals.integrals
        ),
        default=0,
    )


def _bend(mesh: Any) -> int:
    """Degree of the cells of a mesh of simplices; 1 for others."""
    element = mesh.ufl_coordinate_element()
    return int(element.embedded_superdegree) if mesh.ufl_cell().is_simplex else 1


def mass_measure(measure: ufl.Measure, u: Any) -> ufl.Measure:
    """The measure with the rule by which users integrate a function.

    On curved cells no rule is exact: what conserves ``u * dx`` has the rule of ``u * dx``.
    """
    if measure.metadata() or _bend(extract_unique_domain(u)) < 2:
        return measure
    part = u[(0,) * len(u.ufl_shape)] if u.ufl_shape else u
    return measure(metadata={"quadrature_degree": _degree_of_ufl(part * ufl.dx)})


def lumpable(function: Any) -> bool:
    """Whether the vertex rule suits the elements of a function: P1 on simplices."""
    element = function.ufl_function_space().ufl_element().basix_element
    simplex = element.cell_type.name in ("interval", "triangle", "tetrahedron")
    linear = element.family.name == "P" and element.degree == 1 and not element.discontinuous
    return simplex and linear


def lump(form: ufl.Form, fields: Sequence[fem.Function]) -> ufl.Form:
    """Take what a functional asks of the values of ``fields``, not of their gradients, at vertices.

    Cell integrals that come with a rule of their own keep it.
    """
    integrals = []
    for integral in form.integrals():
        free = not {"quadrature_degree", "quadrature_rule"} & integral.metadata().keys()
        if integral.integral_type() != "cell" or not free:
            integrals.append(integral)
            continue
        for term in _summands(integral.integrand()):
            lumped = _pointwise(term, fields)
            metadata = dict(integral.metadata()) | (VERTEX if lumped else {})
            integrals.append(integral.reconstruct(integrand=term, metadata=metadata))
    return ufl.Form(integrals)


def nodal(form: ufl.Form) -> bool:
    """Whether the matrix of a bilinear form on P1 functions is diagonal."""
    return all(
        integral.metadata().get("quadrature_rule") == "vertex"
        and _pointwise(integral.integrand(), form.arguments())
        for integral in form.integrals()
    )


def _summands(e: Any) -> list[Any]:
    if isinstance(e, ufl.classes.Sum):
        return [term for operand in e.ufl_operands for term in _summands(operand)]
    return [e]


def _pointwise(e: Any, fields: Sequence[Any]) -> bool:
    """Whether no derivative of ``fields`` occurs in an expression."""
    return not any(
        any(f in fields for f in extract_type(node, ufl.classes.FormArgument))
        for node in unique_pre_traversal(e)
        if isinstance(node, ufl.classes.Derivative)
    )


def variation(form: ufl.Form, field: fem.Function) -> ufl.Form:
    """First variation of a functional in one field, as a linear form."""
    if zero(form):
        return form
    return expand_derivatives(ufl.derivative(form, field, ufl.TestFunction(field.function_space)))


def fix_quadrature(form: ufl.Form, fields: Sequence[fem.Function]) -> ufl.Form:
    r"""Give every integral of a functional one quadrature degree, once and for all.

    A derivative that is integrated by another rule than its functional is not the derivative of
    the assembled functional, and no energy law survives that. The degree is the larger of UFL's
    estimates for the functional and for its first variation; metadata set by the user wins.

    Args:
        form: A functional, i.e. a form without arguments.
        fields: The functions in which it will be differentiated.

    Returns:
        The same functional with ``quadrature_degree`` in the metadata of each integral.
    """
    fixed = []
    for integral in form.integrals():
        metadata = dict(integral.metadata())
        if not {"quadrature_degree", "quadrature_rule"} & metadata.keys():
            functional = ufl.Form([integral])
            degrees = [_estimated_degree(functional)]
            for field in fields:
                variation = expand_derivatives(
                    ufl.derivative(functional, field, ufl.TestFunction(field.ufl_function_space()))
                )
                if not zero(variation):
                    degrees.append(_estimated_degree(variation))
            # FFCx 0.11 miscompiles a kernel that has a one-point rule beside another rule.
            metadata["quadrature_degree"] = 2 if max(degrees) == 1 else max(degrees)
        fixed.append(integral.reconstruct(metadata=metadata))
    return ufl.Form(fixed)


class _Degree(MultiFunction):
    """Polynomial degree of an expression in given functions; infinite if it is none."""

    def __init__(self, fields: Sequence[fem.Function]) -> None:
        super().__init__()
        self.fields = fields

    def expr(self, _: Any, *degrees: float) -> float:
        return math.inf if any(degrees) else 0

    def terminal(self, o: Any) -> float:
        return 1 if any(o is field for field in self.fields) else 0

    def multi_index(self, _: Any) -> float:
        return 0

    def _linear(self, _: Any, *degrees: float) -> float:
        return max(degrees)

    sum = list_tensor = variable = conj = real = _linear

    def _first(self, _: Any, operand: float, *rest: float) -> float:
        return operand

    grad = reference_grad = div = curl = indexed = index_sum = component_tensor = _first
    restricted = cell_avg = facet_avg = reference_value = _first

    def product(self, _: Any, left: float, right: float) -> float:
        return left + right

    def division(self, _: Any, numerator: float, denominator: float) -> float:
        return math.inf if denominator else numerator

    def power(self, o: Any, base: float, exponent: float) -> float:
        if not base and not exponent:
            return 0
        power = o.ufl_operands[1]
        if isinstance(power, ufl.classes.RealValue) and float(power) in range(13):
            return base * float(power)
        return math.inf

    def coefficient_derivative(self, *_: Any) -> float:
        return math.inf


def same_quadrature(part: ufl.Form, whole: ufl.Form) -> ufl.Form:
    """Integrate a part of a functional by the rule of the whole, its metadata apart."""
    metadata = [integral.metadata() for integral in whole.integrals()]
    degree = max((m["quadrature_degree"] for m in metadata), default=2)
    return ufl.Form(
        [
            i.reconstruct(metadata={"quadrature_degree": degree} | i.metadata())
            for i in part.integrals()
        ]
    )


def polynomial_degree(form: ufl.Form, fields: Sequence[fem.Function]) -> float:
    """Degree of a functional as a polynomial in ``fields`` taken together; ``inf`` if it is none.

    A quadratic energy makes a linear step, and an energy of degree ``p`` is averaged exactly along
    a segment by ``ceil(p / 2)`` Gauss points.
    """
    integrands = (
        i.integrand() for i in apply_algebra_lowering(expand_derivatives(form)).integrals()
    )
    return max((map_expr_dag(_Degree(fields), e) for e in integrands), default=0)


def quadratic_part(form: ufl.Form, u: fem.Function) -> tuple[ufl.Form, ufl.Form]:
    """The terms over all cells that are quadratic in a function, and the rest of a functional."""
    quadratic: list[Any] = []
    rest: list[Any] = []
    for integral in form.integrals():
        for term in _summands(integral.integrand()):
            part = integral.reconstruct(integrand=term)
            pure = everywhere(part) and homogeneous(ufl.Form([part]), u)
            (quadratic if pure else rest).append(part)
    return ufl.Form(quadratic), ufl.Form(rest)


def everywhere(integral: Any) -> bool:
    """Whether an integral is one over all cells."""
    return integral.integral_type() == "cell" and integral.subdomain_id() in (
        "everywhere",
        "otherwise",
    )


def homogeneous(form: ufl.Form, u: fem.Function) -> bool:
    """Whether a functional is a quadratic form, without linear or constant terms."""
    quadratic = polynomial_degree(form, [u]) == 2
    return quadratic and at_zero(form, u).empty() and at_zero(variation(form, u), u).empty()


def at_zero(form: ufl.Form, u: fem.Function) -> ufl.Form:
    """The form where a function vanishes."""
    form = expand_derivatives(form)
    return expand_derivatives(ufl.replace(form, {u: ufl.zero(u.ufl_shape)}))


def integrate(form: fem.Form) -> float:
    """Assemble a compiled functional over all ranks."""
    return float(form.mesh.comm.allreduce(assembler(form).integral()))


def assembled(form: fem.Form | None, V: fem.FunctionSpace, b: Any = None) -> np.ndarray:
    """Values of a compiled linear form at all local degrees of freedom, ghosts included.

    Args:
        form: The form; ``None`` is zero.
        V: The space of its test function.
        b: A vector of that space to work in; a new one makes MPI communicators.
    """
    b = fem.create_vector(V) if b is None else b
    b.array[:] = 0.0
    if form is not None:
        assembler(form).add_vector(b.array)
    b.scatter_reverse(InsertMode.add)
    b.scatter_forward()
    return np.asarray(b.array)


def compiled(form: Any) -> Any:
    """Compile a form, a list or a list of lists of forms; empty forms become ``None``."""
    if isinstance(form, (list, tuple)):
        return [compiled(f) for f in form]
    if zero(form):
        return None
    return fem.form(form, dtype=dolfinx.default_scalar_type, jit_options=jit_options())
