"""Compilation of forms for the processor at hand."""

from __future__ import annotations

import functools
import hashlib
import platform
from pathlib import Path
from typing import Any

import dolfinx

__all__ = ["jit_options"]

PLAIN = ["-O2", "-g0"]
"""What DOLFINx passes to the compiler where nobody says otherwise."""

FAST = ["-O3", "-g0", "-ffast-math", "-fno-finite-math-only"]
"""Sums may be taken in another order; what is not a number stays visible."""


def jit_options() -> dict[str, Any]:
    """Options for DOLFINx's compiler of forms.

    Kernels use all that the processor has, at twice the speed of portable ones. Flags that a user
    gives in a ``dolfinx_jit_options.json`` win.
    """
    given = dolfinx.jit.get_options()["cffi_extra_compile_args"]
    return {"cffi_extra_compile_args": _fast() if given == PLAIN else given}


@functools.cache
def _fast() -> list[str]:
    if platform.machine() not in {"x86_64", "aarch64"}:
        return FAST
    # The flags are part of the key in the cache of compiled forms, and so this names the processor:
    # machines that share a home need not share their instructions.
    return [*FAST, "-march=native", f"-DPROCESSOR={_processor()}"]


def _processor() -> str:
    """A digest of the model of the processor and of the instructions that it offers."""
    described = platform.processor()
    table = Path("/proc/cpuinfo")
    if table.exists():
        keys = ("model name", "flags", "Features", "CPU part")
        first = table.read_text().split("\n\n")[0].splitlines()
        described = "\n".join(line for line in first if line.startswith(keys))
    return "x" + hashlib.sha256(described.encode()).hexdigest()[:12]
