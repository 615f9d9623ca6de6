"""Metrics as other libraries compute them, for comparison with published numbers. Each has its library's name.

Matrices are those of `clbench.metrics.matrix`: `A[l][j]`, fractions, T = `len(A)` >= 1. Results are fractions, None for T = 1.
The definitions give different numbers for one matrix (here in percent):

>>> from clbench.metrics.matrix import forgetting
>>> A = [[92], [85, 90], [87, 94, 88], [80, 86, 85, 91], [82, 95, 86, 84, 90]]
>>> forgetting(A), avalanche_forgetting(A), mammoth_forgetting(A), pycil_forgetting(A)
(4.5, 3.5, 4.75, 4.75)
"""

from __future__ import annotations

from clbench.metrics.matrix import Matrix, Row, bwt, fwt


def avalanche_forgetting(A: Matrix) -> float | None:
    """First minus last: 1/(T-1) sum_{j<T-1} A[j, j] - A[T-1, j], which is -bwt.

    Source: Avalanche 0.6, `evaluation/metrics/forgetting_bwt.py`, `StreamForgetting` after the last evaluation.
    """
    value = bwt(A)
    return None if value is None else -value


def fot_fgt(A: Matrix) -> float | None:
    """FGT of Federated Orthogonal Training, equal to Avalanche's forgetting. The program logs it under the name `BWT`.

    Source: duygunuryldz/Federated_Orthogonal_Training, `FedAVGAggregator.test_on_server_for_all_clients`.
    """
    return avalanche_forgetting(A)


def pycil_forgetting(A: Matrix) -> float | None:
    """Forgetting with the maximum over all rows, the last included: the value of a task is never below 0.

    1/(T-1) sum_{j<T-1} (max over l >= j of A[l, j]) - A[T-1, j]. PyCIL's rows hold only the tasks seen, so no accuracy from
    before a task enters. Source: LAMDA-CL/PyCIL, `trainer.py`, `forgetting` under `print_forget`.
    """
    return _maximum_minus_last(A, rows_before=0)


def mammoth_forgetting(A: Matrix) -> float | None:
    """PyCIL's forgetting, with the next task in each row if it was measured: zero-shot accuracy enters the maximum.

    1/(T-1) sum_{j<T-1} (max over l >= j-1 of A[l, j]) - A[T-1, j]. Source: aimagelab/mammoth, `utils/metrics.py`,
    `forgetting`; `utils/training.py` appends the next task's accuracy to each row when these metrics are enabled.
    """
    return _maximum_minus_last(A, rows_before=1)


def gem_program_bwt(A: Matrix) -> float | None:
    """Backward transfer as GEM's program averages it, over all T tasks: (T-1)/T times the paper's value.

    Source: facebookresearch/GradientEpisodicMemory, `metrics/metrics.py`, `confusion_matrix`.
    """
    return _over_all_tasks(bwt(A), len(A))


def gem_program_fwt(A: Matrix, untrained: Row | None) -> float | None:
    """Forward transfer as GEM's program averages it, over all T tasks: (T-1)/T times the paper's value.

    Source: facebookresearch/GradientEpisodicMemory, `metrics/metrics.py`, `confusion_matrix`.
    """
    return _over_all_tasks(fwt(A, untrained), len(A))


def rogo_omega_new(A: Matrix) -> float | None:
    """ROGO's forward knowledge transfer: 1/(T-1) sum_{j>0} A[j, j], which is the learning accuracy without the first task.

    Source: THUNLP-MT/ROGO (Yang et al., AI Open 2023).
    """
    diagonal = [A[j][j] for j in range(1, len(A))]
    present = [value for value in diagonal if value is not None]
    return sum(present) / len(present) if present and len(present) == len(diagonal) else None


def _maximum_minus_last(A: Matrix, rows_before: int) -> float | None:
    """Return the mean over tasks of (maximum from `rows_before` rows before the task's own row) - last entry.

    The maximum skips entries that were not measured.
    """
    last, drops = len(A) - 1, []
    for j in range(last):
        column = [A[row][j] for row in range(max(j - rows_before, 0), last + 1) if j < len(A[row])]
        measured = [value for value in column if value is not None]
        final = column[-1]
        if final is None:
            return None
        drops.append(max(measured) - final)
    return sum(drops) / last if last > 0 else None


def _over_all_tasks(value: float | None, n_tasks: int) -> float | None:
    return None if value is None else value * (n_tasks - 1) / n_tasks
