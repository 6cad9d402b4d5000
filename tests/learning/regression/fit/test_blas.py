"""The routines called by address give what numpy gives, for both precisions and orders, and work side by side."""

import threading

import numpy as np
import pytest
from scipy.linalg import LinAlgError, cho_solve

from learning.regression.fit.blas import add_inner_products, cholesky_in_place


@pytest.mark.parametrize("kind, tolerance", [(np.float32, 1e-4), (np.float64, 1e-12)])
def test_the_factor_solves_the_system(kind, tolerance):
    rng = np.random.default_rng(0)
    root = rng.normal(size=(40, 60))
    system, target = root @ root.T, rng.normal(size=40)
    lower = np.where(np.tri(40, dtype=bool), system, np.nan).astype(kind)  # the upper triangle is not read
    assert cho_solve(cholesky_in_place(lower), target.astype(kind), check_finite=False) == pytest.approx(
        np.linalg.solve(system, target), rel=tolerance, abs=tolerance
    )


def test_a_matrix_that_is_not_positive_definite_is_refused():
    matrix = np.diag([1.0, 2.0, -1.0])
    with pytest.raises(LinAlgError, match="minor of order 3"):
        cholesky_in_place(matrix)


@pytest.mark.parametrize("order", ["C", "F"])
def test_inner_products_are_added_to_the_lower_triangle(order):
    rng = np.random.default_rng(0)
    columns = np.array(rng.normal(size=(7, 5)), order=order)
    before = rng.normal(size=(5, 5))
    after = np.asfortranarray(before)
    add_inner_products(after, columns, -2.0)
    lower = np.tri(5, dtype=bool)
    assert after[lower] == pytest.approx((before - 2 * columns.T @ columns)[lower], abs=1e-12)
    assert np.array_equal(after[~lower], before[~lower])


def test_other_threads_run_meanwhile():
    """While one thread factorises, this one gets the interpreter's lock again and again."""
    matrix = np.eye(2500) + 1
    finished, turns = threading.Event(), 0
    worker = threading.Thread(target=lambda: (cholesky_in_place(matrix), finished.set()))
    worker.start()
    while not finished.wait(0.001):
        turns += 1
    worker.join()
    assert turns > 3
