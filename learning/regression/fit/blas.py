"""Two routines of BLAS and LAPACK that run without Python's global lock (GIL), so that threads work in parallel.

scipy's own functions hold the lock, and numpy's Cholesky factorisation takes twice the time. scipy exports the
addresses of the routines for Cython; ctypes calls them, and releases the lock meanwhile.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable

import numpy as np
from scipy.linalg import LinAlgError, cython_blas, cython_lapack

Routine = Callable[..., None]

_name_of = ctypes.PYFUNCTYPE(ctypes.c_char_p, ctypes.py_object)(("PyCapsule_GetName", ctypes.pythonapi))
_address_of = ctypes.PYFUNCTYPE(ctypes.c_void_p, ctypes.py_object, ctypes.c_char_p)(
    ("PyCapsule_GetPointer", ctypes.pythonapi)
)


def _routine(capsule: object, n_arguments: int) -> Routine:
    """The Fortran routine at this address; all its arguments are pointers."""
    return ctypes.CFUNCTYPE(None, *[ctypes.c_void_p] * n_arguments)(_address_of(capsule, _name_of(capsule)))


_potrf = {
    np.dtype(np.float32): _routine(cython_lapack.__pyx_capi__["spotrf"], 5),
    np.dtype(np.float64): _routine(cython_lapack.__pyx_capi__["dpotrf"], 5),
}
_dsyrk = _routine(cython_blas.__pyx_capi__["dsyrk"], 10)


def cholesky_in_place(matrix: np.ndarray) -> tuple[np.ndarray, bool]:
    """The Cholesky factor of a symmetric positive definite matrix, in its place, for ``scipy.linalg.cho_solve``.

    ``matrix`` is (n, n), float32 or float64, row by row in memory; its lower triangle is read. Raises LinAlgError where
    it is not positive definite.
    """
    n, info = ctypes.c_int(len(matrix)), ctypes.c_int()
    assert matrix.shape == (n.value, n.value) and matrix.flags.c_contiguous
    # Fortran reads memory by columns: it sees the transpose, whose upper triangle is this lower one.
    _potrf[matrix.dtype](b"U", ctypes.byref(n), matrix.ctypes.data, ctypes.byref(n), ctypes.byref(info))
    if info.value:
        raise LinAlgError(f"the leading minor of order {info.value} is not positive definite")
    return matrix.T, False


def shifted_factor(matrix: np.ndarray, shift: float) -> tuple[np.ndarray, bool]:
    """The factor of A + ``shift`` I in the form of ``cholesky_in_place``; A, the (n, n) ``matrix``, is not changed."""
    # Symmetric, so its transpose serves as well: the one that is row by row in memory is copied faster.
    shifted = np.array(matrix.T if matrix.flags.f_contiguous else matrix, order="C")
    shifted[np.diag_indices_from(shifted)] += shift
    return cholesky_in_place(shifted)


def add_inner_products(lower: np.ndarray, columns: np.ndarray, factor: float = 1.0) -> None:
    """Adds ``factor`` times the inner products of ``columns`` (m, p) to the lower triangle of ``lower`` (p, p).

    Both are float64; ``lower`` is column by column in memory.
    """
    m, p = map(ctypes.c_int, columns.shape)
    assert lower.shape == (p.value, p.value) and lower.flags.f_contiguous
    assert lower.dtype == columns.dtype == np.float64
    by_rows = columns.flags.c_contiguous
    assert by_rows or columns.flags.f_contiguous
    _dsyrk(
        b"L", b"N" if by_rows else b"T", ctypes.byref(p), ctypes.byref(m), ctypes.byref(ctypes.c_double(factor)),
        columns.ctypes.data, ctypes.byref(p if by_rows else m), ctypes.byref(ctypes.c_double(1.0)),
        lower.ctypes.data, ctypes.byref(p),
    )  # fmt: skip
