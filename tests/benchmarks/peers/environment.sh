#!/bin/bash
# Makes .venv-peers: the codes that `make bench` compares with, apart from flows' own environment.
#
# CHOLMOD comes from Debian's SuiteSparse, and OpenBLAS is installed beside it: with the reference
# BLAS its factorisations take twice as long. PYTHON=/path/to/python chooses the Python.
set -euo pipefail
cd "$(dirname "$0")/../../.."

if [ ! -e /usr/include/suitesparse/cholmod.h ] || ! ldconfig -p | grep libopenblas >/dev/null; then
  root=()
  [ "$(id -u)" -eq 0 ] || root=(sudo)
  "${root[@]}" apt-get -qq update
  "${root[@]}" env DEBIAN_FRONTEND=noninteractive \
    apt-get -qq install -y --no-install-recommends g++ libsuitesparse-dev libopenblas-dev >/dev/null
fi

echo "Installing the peers in .venv-peers (two minutes)"
"${PYTHON:-.venv/bin/python}" -m venv .venv-peers
.venv-peers/bin/python -m pip install --quiet -r tests/benchmarks/peers/requirements.txt
