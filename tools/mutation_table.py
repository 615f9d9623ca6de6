"""All mutations that `tools/mutations.py` tries. Each is an error that tests must notice."""

from __future__ import annotations

from tools.mutation_tables import draws, evaluation, honesty, methods, replay, steps, store, training
from tools.mutation_tables.mutation import Mutation as Mutation

MUTATIONS = (
    *methods.MUTATIONS,
    *training.MUTATIONS,
    *steps.MUTATIONS,
    *draws.MUTATIONS,
    *replay.MUTATIONS,
    *evaluation.MUTATIONS,
    *honesty.MUTATIONS,
    *store.MUTATIONS,
)
