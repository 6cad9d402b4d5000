"""Solvers of ElasticNet on the features of a network: ours, scikit-learn's, celer's and skglm's.

``python -m benchmarks.elastic_net`` fits a path of the default penalties on the 120 photographs in sample_data/clive,
with the embedded model's 3,840 features, standardised. Each solver starts a penalty from the solution of the one
before, and is stopped after ``--limit`` seconds per path. The gap is the difference between a solver's objective and
the best dual value of all solvers. celer and skglm are compared if they are installed (``pip install celer skglm``).

    python -m benchmarks.elastic_net --features feats --scores scores.csv      other features
"""

from __future__ import annotations

import argparse
import functools
import importlib.util
import multiprocessing
import shlex
import subprocess
import sys
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path

import numpy as np
from sklearn.preprocessing import StandardScaler

from benchmarks.table import Row, print_table
from learning.regression.fit.elastic_net import GAP, elasticnet_solutions
from learning.regression.fit.settings import Grid
from learning.regression.train import read_data
from options.regressor import parse_regressor_options

ROOT = Path(__file__).parents[1]

L1_RATIOS = Grid().l1_ratios
ALPHAS = sorted(Grid().elasticnet_alphas, reverse=True)
MOST_ROUNDS = 1_000_000


Solution = tuple[np.ndarray, np.ndarray]
"""Weights (p,) and a dual point (n,)."""


def ours(features: np.ndarray, target: np.ndarray, l1_ratio: float) -> Iterator[Solution]:
    for solution in elasticnet_solutions(np.asfortranarray(features), target, l1_ratio, ALPHAS):
        yield solution.weights, solution.theta


def theirs(package: str, features: np.ndarray, target: np.ndarray, l1_ratio: float) -> Iterator[Solution]:
    """The ElasticNet of a package with scikit-learn's interface; its dual point is the residual."""
    model = importlib.import_module(package).ElasticNet(
        l1_ratio=l1_ratio, fit_intercept=False, tol=GAP, max_iter=MOST_ROUNDS, warm_start=True
    )
    columns = np.asfortranarray(features)
    for alpha in ALPHAS:
        weights = model.set_params(alpha=alpha).fit(columns, target).coef_.copy()
        yield weights, target - features @ weights


SOLVERS: dict[str, Callable[[np.ndarray, np.ndarray, float], Iterator[Solution]]] = {
    "ours": ours,
    "scikit-learn": functools.partial(theirs, "sklearn.linear_model"),
    "celer": functools.partial(theirs, "celer"),
    "skglm": functools.partial(theirs, "skglm"),
}


@dataclass(frozen=True)
class Problem:
    """|t - Z w|^2 / 2 + l1 |w|_1 + l2 |w|^2 / 2 for centred Z (n, p) and t (n,); elastic_net.py has the dual."""

    features: np.ndarray
    target: np.ndarray
    l1: float
    l2: float

    def primal(self, weights: np.ndarray) -> float:
        residual = self.target - self.features @ weights
        return float(residual @ residual / 2 + self.l1 * np.abs(weights).sum() + self.l2 * (weights @ weights) / 2)

    def dual(self, theta: np.ndarray) -> float:
        excess = np.maximum(np.abs(self.features.T @ theta) - self.l1, 0)
        return float(theta @ self.target - theta @ theta / 2 - excess @ excess / (2 * self.l2))


def _send_solutions(
    connection: Connection, solver: str, features: np.ndarray, target: np.ndarray, l1_ratio: float
) -> None:
    warnings.simplefilter("ignore")  # on missed convergence: the gap is printed
    next(SOLVERS[solver](features[:50, :20], target[:50], l1_ratio))  # imports, and compiles
    connection.send(None)
    for solution in SOLVERS[solver](features, target, l1_ratio):
        connection.send(solution)


def solve(
    solver: str, features: np.ndarray, target: np.ndarray, l1_ratio: float, limit: float
) -> tuple[list[Solution], float]:
    """The solutions of the penalties that are fitted within ``limit`` seconds, and the seconds that they took."""
    context = multiprocessing.get_context("spawn")
    receiving, sending = context.Pipe(duplex=False)
    process = context.Process(target=_send_solutions, args=(sending, solver, features, target, l1_ratio), daemon=True)
    process.start()
    sending.close()
    found: list[Solution] = []
    receiving.recv()
    began = last = time.perf_counter()
    while len(found) < len(ALPHAS) and receiving.poll(max(0.0, began + limit - time.perf_counter())):
        found.append(receiving.recv())
        last = time.perf_counter()
    process.kill()
    process.join()
    return found, last - began


def embedded_features(folder: Path) -> list[str]:
    """Computes the embedded model's features of sample_data/clive; the options of train_regressor.py that name them."""
    command = f"""{sys.executable} demo_quality_aware_feats.py --ckpt models/quality_aware_r18.safetensors
        --pooling stages_mean_std --input sample_data/clive/images --output_dir {folder}"""
    subprocess.run(shlex.split(command), cwd=ROOT, check=True, stdout=subprocess.DEVNULL)
    return ["--features", str(folder), "--scores", str(ROOT / "sample_data/clive/mos.csv")]


def rows(options: list[str], limit: float) -> Iterator[Row]:
    """Each solver on the path of each ``l1_ratio``; ``options`` of train_regressor.py name features and scores."""
    data = read_data(parse_regressor_options(options))
    features, target = StandardScaler().fit_transform(data.features.astype(np.float64)), data.scores.mos
    target = target - target.mean()
    for l1_ratio in L1_RATIOS:
        installed = [name for name in SOLVERS if name in ("ours", "scikit-learn") or importlib.util.find_spec(name)]
        solved = {solver: solve(solver, features, target, l1_ratio, limit) for solver in installed}
        gaps: dict[str, list[float]] = {solver: [] for solver in installed}
        for position, alpha in enumerate(ALPHAS):
            scale = len(target) * alpha
            problem = Problem(features, target, scale * l1_ratio, scale * (1 - l1_ratio))
            reached = {solver: found[position] for solver, (found, _) in solved.items() if position < len(found)}
            dual = max(problem.dual(theta) for _, theta in reached.values())
            for solver, (weights, _) in reached.items():
                gaps[solver].append((problem.primal(weights) - dual) / (target @ target))
        for solver, (found, seconds) in solved.items():
            within = f"{len(found)} of {len(ALPHAS)} penalties in {limit:g} s"
            name = f"{solver}, l1_ratio {l1_ratio:g}, {len(target)}x{features.shape[1]}"
            yield Row(name, f"{seconds:.1f} s", within)
            yield Row("  largest gap, of |t|^2", f"{max(gaps[solver], default=np.nan):.0e}", aim=f"{GAP:g}")


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.elastic_net", description=__doc__.splitlines()[0])
    parser.add_argument("--features", help="features, as for train_regressor.py")
    parser.add_argument("--scores", help="their opinion scores")
    parser.add_argument("--limit", type=float, default=120, help="seconds for each path (default: 120)")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        own = options.features and ["--features", options.features, "--scores", options.scores]
        print_table(rows(own or embedded_features(Path(folder)), options.limit))


if __name__ == "__main__":
    main()
