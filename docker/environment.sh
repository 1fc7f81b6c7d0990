#!/bin/bash
# Makes .venv: flows, what it needs, the test tools. `make env` calls it; so do the images.
#
# What this machine already has stays as it is: DOLFINx with PETSc in the Python at hand (conda,
# the FEniCSx image, a build of one's own) is used, not installed; system libraries are asked for
# by what they do, and only missing ones are installed, on Debian and Ubuntu.
#
# PYTHON=/path/to/python chooses the Python.
set -euo pipefail
cd "$(dirname "$0")/.."

stop() { echo "$*" >&2; exit 1; }

install() {
  command -v apt-get >/dev/null || stop "Install what these Debian packages hold, then try again: $*"
  local root=()
  if [ "$(id -u)" -ne 0 ]; then
    sudo -n true 2>/dev/null || stop "Run this, then try again: sudo apt-get install -y $*"
    root=(sudo)
  fi
  echo "Installing $*"
  "${root[@]}" apt-get -qq update
  "${root[@]}" env DEBIAN_FRONTEND=noninteractive \
    apt-get -qq install -y --no-install-recommends "$@" >/dev/null
}

find_python() {
  local candidate
  for candidate in ${PYTHON:-$(type -aP python python3.12 python3.13 python3.14 python3)}; do
    "$candidate" -c 'import sys; sys.exit(sys.version_info < (3, 12))' 2>/dev/null || continue
    echo "$candidate"
    return
  done
}

makes_environments() { "$1" -c 'import ensurepip, venv' 2>/dev/null; }

# DOLFINx compiles its forms at run time, against Python's headers.
compiles() (
  folder=$(mktemp -d)
  trap 'rm -rf "$folder"' EXIT
  config() { "$python" -c "import sysconfig; print(sysconfig.$1)"; }
  echo '#include <Python.h>' >"$folder/a.c"
  ${CC:-$(config 'get_config_var("CC")')} -I"$(config 'get_path("include")')" \
    -shared -fPIC "$folder/a.c" -o "$folder/a.so" 2>/dev/null
)

loads() { "$python" -c "import ctypes; ctypes.CDLL('$1')" 2>/dev/null; }

# DOLFINx that works, and does not come from the wheel: that one serves its own environment only.
has_dolfinx() {
  "$1" -P flows/_boot.py 2>/dev/null && ! "$1" -c 'import dolfinx_solver' 2>/dev/null
}

python=$(find_python)
[ -n "$python" ] || { install python3-venv python3-dev; python=$(find_python); }
[ -n "$python" ] || stop "flows needs Python 3.12 or newer: install one, or make env PYTHON=..."

missing=()
makes_environments "$python" || missing+=(python3-venv)
compiles || missing+=(gcc libc6-dev python3-dev)
# Gmsh and VTK link to these even when nothing is shown on a screen.
loads libGL.so.1 || missing+=(libgl1)
loads libEGL.so.1 || missing+=(libegl1)
loads libGLU.so.1 || missing+=(libglu1-mesa)
loads libXft.so.2 || missing+=(libxft2)
loads libXrender.so.1 || missing+=(libxrender1)
loads libXcursor.so.1 || missing+=(libxcursor1)
loads libXinerama.so.1 || missing+=(libxinerama1)
[ ${#missing[@]} -eq 0 ] || install "${missing[@]}"

if [ ! -x .venv/bin/pip ]; then
  if has_dolfinx "$python"; then
    "$python" -m venv --system-site-packages .venv
    # Should that Python live in a virtual environment itself, .venv would see only the one below.
    "$python" -c 'import sysconfig; print(sysconfig.get_path("purelib"))' \
      >"$(.venv/bin/python -c 'import sysconfig; print(sysconfig.get_path("purelib"))')/dolfinx.pth"
  else
    "$python" -m venv .venv
  fi
fi

extras=all
! has_dolfinx .venv/bin/python || extras=mesh,plot
echo "Installing flows in .venv (a minute or two, about 1.5 GB)"
.venv/bin/python -m pip install --quiet --upgrade 'pip>=25.1'
.venv/bin/python -m pip install --quiet --editable ".[$extras]" --group test
.venv/bin/python -P flows/_boot.py # ends with the reason if DOLFINx does not run
