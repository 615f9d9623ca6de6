"""Mutations of random draws: which part of a name they depend on."""

from tools.mutation_tables.mutation import Mutation

MUTATIONS = (
    Mutation(
        "order-without-seed",  # all seeds see the batches in one order
        "clbench/engine/training/loop.py",
        'self.learner.generator("batches", self.task.index, self._passes, self._first_epoch + epoch)',
        'rng.generator(0, "batches", self.task.index, self._passes, self._first_epoch + epoch)',
        ("tests/engine/training/test_draws.py::test_the_order_of_batches_follows_seed_task_epoch_and_pass",),
    ),
    Mutation(
        "order-without-task",  # all tasks in one order
        "clbench/engine/training/loop.py",
        'self.learner.generator("batches", self.task.index, self._passes, self._first_epoch + epoch)',
        'self.learner.generator("batches", 0, self._passes, self._first_epoch + epoch)',
        ("tests/engine/training/test_draws.py::test_the_order_of_batches_follows_seed_task_epoch_and_pass",),
    ),
    Mutation(
        "order-without-epoch",  # every epoch in the same order
        "clbench/engine/training/loop.py",
        'self.learner.generator("batches", self.task.index, self._passes, self._first_epoch + epoch)',
        'self.learner.generator("batches", self.task.index, self._passes, self._first_epoch)',
        ("tests/engine/training/test_draws.py::test_the_order_of_batches_follows_seed_task_epoch_and_pass",),
    ),
    Mutation(
        "order-without-pass",  # a method that passes twice over a task sees one order
        "clbench/engine/training/loop.py",
        'self.learner.generator("batches", self.task.index, self._passes, self._first_epoch + epoch)',
        'self.learner.generator("batches", self.task.index, 0, self._first_epoch + epoch)',
        ("tests/engine/training/test_draws.py::test_the_order_of_batches_follows_seed_task_epoch_and_pass",),
    ),
    Mutation(
        "order-of-rounds",  # every federated round in the same order
        "clbench/engine/training/loop.py",
        'self.learner.generator("batches", self.task.index, self._passes, self._first_epoch + epoch)',
        'self.learner.generator("batches", self.task.index, self._passes, epoch)',
        ("tests/engine/training/test_draws.py::test_the_order_goes_on_where_the_epochs_before_ended",),
    ),
    Mutation(
        "augmentation-none",  # no augmentation at all
        "clbench/engine/training/loop.py",
        "learner.batch(split, positions, epoch, augment, raw), group",
        "learner.batch(split, positions, epoch, None, raw), group",
        ("tests/engine/training/test_draws.py::test_augmentation_follows_seed_task_epoch_and_pass",),
    ),
    Mutation(
        "augmentation-repeats",  # the same draws in every task and epoch
        "clbench/engine/training/loop.py",
        'learner.generator("augmentation", *key, device=device)',
        'learner.generator("augmentation", device=device)',
        ("tests/engine/training/test_draws.py::test_augmentation_follows_seed_task_epoch_and_pass",),
    ),
    Mutation(
        "augmentation-without-seed",  # the same draws for all seeds
        "clbench/engine/training/loop.py",
        'learner.generator("augmentation", *key, device=device)',
        'rng.generator(0, "augmentation", *key, device=device)',
        ("tests/engine/training/test_draws.py::test_augmentation_follows_seed_task_epoch_and_pass",),
    ),
    Mutation(
        "augmentation-groups",  # the draws begin anew with every group of batches
        "clbench/engine/training/loop.py",
        "learner.batch(split, positions, epoch, augment, raw), group",
        'learner.batch(split, positions, epoch, augment and learner.generator("augmentation", *key, device=device), raw), group',
        ("tests/engine/training/test_draws.py::test_no_two_groups_of_an_epoch_are_augmented_alike",),
    ),
    Mutation(
        "dropout-without-seed",  # dropout is the same for all seeds
        "clbench/engine/training/loop.py",
        'torch.manual_seed(rng.derive(learner.seed, "dropout", *key, *learner.rng_scope))',
        'torch.manual_seed(rng.derive(0, "dropout", *key, *learner.rng_scope))',
        ("tests/engine/training/test_draws.py::test_dropout_follows_seed_task_epoch_and_step",),
    ),
    Mutation(
        "dropout-repeats",  # dropout is the same in every epoch
        "clbench/engine/training/loop.py",
        'torch.manual_seed(rng.derive(learner.seed, "dropout", *key, *learner.rng_scope))',
        'torch.manual_seed(rng.derive(learner.seed, "dropout", *learner.rng_scope))',
        ("tests/engine/training/test_draws.py::test_dropout_follows_seed_task_epoch_and_step",),
    ),
    Mutation(
        "dropout-unseeded",  # dropout depends on what was drawn before
        "clbench/engine/training/loop.py",
        '        torch.manual_seed(rng.derive(learner.seed, "dropout", *key, *learner.rng_scope))\n',
        "",
        ("tests/engine/training/test_draws.py::test_dropout_follows_seed_task_epoch_and_step",),
    ),
    Mutation(
        "draws-of-clients",  # all clients draw the same
        "clbench/engine/learner/learner.py",
        "rng.generator(self.seed, *purpose, *self.rng_scope, device=device)",
        "rng.generator(self.seed, *purpose, device=device)",
        ("tests/engine/training/test_draws.py::test_clients_draw_their_own",),
    ),
    Mutation(
        "names-run-together",  # two names of random streams are one
        "clbench/utils/rng.py",
        '"/".join(',
        '"".join(',
        ("tests/utils/test_rng.py::test_neither_order_nor_boundaries_of_the_parts_are_lost",),
    ),
    Mutation(
        "initial-weights-of-one-seed",  # all seeds begin with the same weights
        "clbench/models/__init__.py",
        'derive(seed, "initialisation")',
        'derive(0, "initialisation")',
        ("tests/models/test_initialisation.py::test_each_seed_has_its_own_initial_weights",),
    ),
)
