"""What other libraries compute under the same words, kept under their own names so that numbers can be compared.

Matrices as in `clbench.metrics.matrix`: `A[l][j]`, fractions, T = `len(A)` >= 1; results are fractions, None for T = 1.
For rows (in percent) [92] [85 90] [87 94 88] [80 86 85 91] [82 95 86 84 90] this suite's forgetting is 4.50,
Avalanche's 3.50, Mammoth's and PyCIL's 4.75.
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
    """FGT of Federated Orthogonal Training: the same as Avalanche's; the program logs it under the name `BWT`.

    Source: duygunuryldz/Federated_Orthogonal_Training, `FedAVGAggregator.test_on_server_for_all_clients`.
    """
    return avalanche_forgetting(A)


def pycil_forgetting(A: Matrix) -> float | None:
    """Maximum over all rows, the last included: no task counts below 0.

    1/(T-1) sum_{j<T-1} (max over l >= j of A[l, j]) - A[T-1, j]. Rows of PyCIL hold the tasks seen, so nothing measured
    before a task enters. Source: LAMDA-CL/PyCIL, `trainer.py`, `forgetting` under `print_forget`.
    """
    return _maximum_minus_last(A, ahead=0)


def mammoth_forgetting(A: Matrix) -> float | None:
    """PyCIL's, but a row also holds the next task where it was measured, so that zero-shot accuracy enters the maximum.

    1/(T-1) sum_{j<T-1} (max over l >= j-1 of A[l, j]) - A[T-1, j]. Source: aimagelab/mammoth, `utils/metrics.py`,
    `forgetting`; `utils/training.py` appends the next task's accuracy to each row when these metrics are enabled.
    """
    return _maximum_minus_last(A, ahead=1)


def gem_program_bwt(A: Matrix) -> float | None:
    """Backward transfer as GEM's program averages it: over all T tasks, (T-1)/T of the paper's.

    Source: facebookresearch/GradientEpisodicMemory, `metrics/metrics.py`, `confusion_matrix`.
    """
    return _over_all_tasks(bwt(A), len(A))


def gem_program_fwt(A: Matrix, untrained: Row | None) -> float | None:
    """Forward transfer as GEM's program averages it: over all T tasks, (T-1)/T of the paper's.

    Source: facebookresearch/GradientEpisodicMemory, `metrics/metrics.py`, `confusion_matrix`.
    """
    return _over_all_tasks(fwt(A, untrained), len(A))


def rogo_omega_new(A: Matrix) -> float | None:
    """ROGO's forward knowledge transfer: 1/(T-1) sum_{j>0} A[j, j], the learning accuracy without the first task.

    Source: THUNLP-MT/ROGO (Yang et al., AI Open 2023).
    """
    diagonal = [A[j][j] for j in range(1, len(A))]
    present = [value for value in diagonal if value is not None]
    return sum(present) / len(present) if present and len(present) == len(diagonal) else None


def _maximum_minus_last(A: Matrix, ahead: int) -> float | None:
    """Return the mean over tasks of (max from `ahead` rows before its own on) - last; unmeasured ones are skipped."""
    last, drops = len(A) - 1, []
    for j in range(last):
        column = [A[row][j] for row in range(max(j - ahead, 0), last + 1) if j < len(A[row])]
        measured = [value for value in column if value is not None]
        final = column[-1]
        if final is None:
            return None
        drops.append(max(measured) - final)
    return sum(drops) / last if last > 0 else None


def _over_all_tasks(value: float | None, n_tasks: int) -> float | None:
    return None if value is None else value * (n_tasks - 1) / n_tasks
