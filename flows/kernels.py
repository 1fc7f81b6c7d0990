"""Loops in C, compiled for the processor at hand as DOLFINx compiles its forms."""

from __future__ import annotations

import hashlib
import importlib
import importlib.util
import os
import re
import sysconfig
import tempfile
from functools import cache
from pathlib import Path
from typing import Any

from flows.jit import jit_options

import dolfinx
import numpy as np
from mpi4py import MPI

__all__ = ["Kernels"]

PROTOTYPE = re.compile(r"^\w+ \w+\([^)]*\)(?=\s*\{)", re.MULTILINE)
TYPES = {"f8": "double[]", "i4": "int32_t[]", "i8": "int64_t[]"}


class Kernels:
    """The functions of a C source of this package; arrays are given as numpy arrays.

    Args:
        comm: Ranks that need them: the first one compiles, the others load; collective.
        source: Name of the source.
        above: What stands above it.

    Raises:
        RuntimeError: on every rank, where there is no compiler.
    """

    def __init__(self, comm: MPI.Comm, source: str, above: str = "") -> None:
        in_turn: Any = dolfinx.jit.mpi_jit_decorator
        module = in_turn(_loaded)(comm, source, above)
        self._library, self._ffi = module.lib, module.ffi
        self._types = {np.dtype(key): module.ffi.typeof(name) for key, name in TYPES.items()}

    def __call__(self, name: str, *arguments: Any) -> Any:
        """Call a function."""
        return getattr(self._library, name)(*self.given(*arguments))

    def given(self, *arguments: Any) -> list[Any]:
        """Arguments converted once, for many calls; arrays must stay where they are."""
        pointer, types, null = self._ffi.from_buffer, self._types, self._ffi.NULL
        return [
            pointer(types[a.dtype], a) if isinstance(a, np.ndarray) else null if a is None else a
            for a in arguments
        ]


@cache
def _loaded(source: str, above: str) -> Any:
    """The module, compiled unless that is done."""
    own = Path(__file__).with_name(source).read_text()
    prototypes, code = PROTOTYPE.findall(own), above + own
    options = dolfinx.jit.get_options(jit_options())
    flags, folder = options["cffi_extra_compile_args"], Path(options["cache_dir"])
    suffix = sysconfig.get_config_var("EXT_SUFFIX")
    digest = hashlib.sha256("\n".join([code, *flags, suffix]).encode()).hexdigest()
    name = f"flows_{Path(source).stem}_{digest[:20]}"
    path = folder / (name + suffix)
    if not path.exists():
        _compile(name, prototypes, code, [*flags], path)
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def _compile(name: str, prototypes: list[str], code: str, flags: list[str], path: Path) -> None:
    """Compile apart and rename: other processes see the whole library or none."""
    cffi: Any = importlib.import_module("cffi")  # DOLFINx brings it; it has no types
    builder = cffi.FFI()
    builder.cdef("".join(f"{prototype};\n" for prototype in prototypes))
    builder.set_source(name, code, extra_compile_args=["-std=gnu17", "-w", *flags])
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=path.parent) as folder:
        try:
            os.replace(builder.compile(tmpdir=folder), path)
        except (cffi.VerificationError, OSError) as error:
            raise RuntimeError(
                f"the C compiler that DOLFINx needs, too, fails on {path.stem}: {error}; install "
                "one, or name it in the environment variable CC"
            ) from error
