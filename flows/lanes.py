"""Kernels of FFCx as parts of the loops that call them, for four cells at a time.

A compiler that sees the kernel of a form and the loop over cells together makes code that is up to
twice as fast as the two apart, since it knows how long all loops are. Linear and bilinear forms
gain another third by vectors with a number of each of four cells: FFCx writes C for numbers, and
its declarations are made those of vectors.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

__all__ = ["head", "kernels"]

LANES = 4
"""Cells in a vector; wider ones are no faster, where processors have them."""

KERNEL = re.compile(
    r"^void tabulate_tensor_(\w+)\([^)]*\)\n(\{.*?^\})\s*^(?:bool enabled|ufcx_integral)",
    re.MULTILINE | re.DOTALL,
)
"""Name and body of a kernel in a source that FFCx has written."""

LIST = re.compile(r"^static ufcx_integral\* form_integrals_\w+\[\d+\] = \{(.*)\};", re.MULTILINE)
"""The integrals of a form in such a source."""

VALUE = re.compile(r"^(\s*)(?:const )?double (\w+) = (.*);$", re.MULTILINE)
ARRAY = re.compile(r"^(\s*)(?:const )?double (\w+\[)", re.MULTILINE)
"""Declarations in a kernel; tables are static."""

ARITHMETIC = Path(__file__).with_name("lanes.c").read_text()
"""What kernels for vectors need, in C."""

CALL = re.compile(r"\b([a-z]\w*)\(")
KNOWN = {"for", *re.findall(r"OF_\w+\((\w+)\)", ARITHMETIC)}
"""What may stand before a parenthesis in a kernel for vectors."""


def kernels(text: str, count: int) -> list[str]:
    """The bodies of the kernels of a form, in the order of its integrals.

    Args:
        text: What FFCx has written.
        count: The number of integrals over cells, which come first.

    Returns:
        As many bodies; none where the source is not as expected.
    """
    bodies, lists = dict(KERNEL.findall(text)), LIST.findall(text)
    names = re.findall(r"\w+", lists[0]) if len(lists) == 1 else []
    found = [bodies[name] for name in names[:count] if name in bodies]
    return found if len(found) == count else []


def head(body: str, widths: Sequence[int], corners: int, arguments: Sequence[int]) -> str:
    """What stands above the loops of ``cells.c`` to make a kernel a part of them.

    Args:
        body: The kernel.
        widths: Numbers of values of the functions that it reads.
        corners: Number of nodes of a cell.
        arguments: Numbers of values of its arguments.
    """
    wide = "bool" not in body and "?" not in body and {*CALL.findall(body)} <= KNOWN
    body = VALUE.sub(r"\1lanes \2 = zero + (\3);", ARRAY.sub(r"\1lanes \2", body))
    rows, columns = [*arguments, 1, 1][:2]
    lines = [
        f"#define LANES {LANES if wide else 1}",
        ARITHMETIC,
        f"static const int32_t WIDTHS[] = {{{', '.join(map(str, [*widths, 0]))}}};",
        f"#define FUNCTIONS {len(widths)}",
        f"#define WIDTH {sum(widths)}",
        f"#define CORNERS {corners}",
        f"#define ROWS {rows}",
        f"#define COLUMNS {columns}",
        f"#define SERVES(rank) (rank == {len(arguments)})",
        "#define KERNEL kernel",
        "static inline void kernel(lanes *restrict A, const lanes *restrict w,",
        "  const double *restrict c, const lanes *restrict coordinate_dofs,",
        "  const int *restrict entity_local_index, const uint8_t *restrict quadrature_permutation,",
        "  void *custom_data)",
        body,
        "",
    ]
    return "\n".join(lines)
