"""Mutations of a step: clipping, parts of a batch, moments, seeds side by side."""

from tools.mutation_tables.mutation import Mutation

MUTATIONS = (
    Mutation(
        "norm-ignored",  # gradients are not clipped
        "clbench/engine/training/step.py",
        "            clip(gradients, plan.clip_norm)",
        "            pass",
        ("tests/engine/training/test_gradients.py::test_a_norm_bounds_the_step_and_keeps_its_direction",),
    ),
    Mutation(
        "one-bound-only",  # of two bounds one holds
        "clbench/engine/training/step.py",
        "if plan.clip_norm is not None:",
        "if plan.clip_norm is not None and plan.clip_value is None:",
        ("tests/engine/training/test_gradients.py::test_both_bounds_hold_at_once_by_value_first",),
    ),
    Mutation(
        "norm-by-tensor",  # each parameter's gradient is clipped by itself: the direction changes
        "clbench/engine/optimizers.py",
        "norm = torch.linalg.vector_norm(torch.stack(torch._foreach_norm(gradients)))",
        "norm = torch.stack(torch._foreach_norm(gradients)).max()",
        ("tests/engine/training/test_gradients.py::test_a_norm_bounds_the_step_and_keeps_its_direction",),
    ),
    Mutation(
        "clipped-before-edit",  # the bound is on the gradients that the method replaced
        "clbench/engine/training/step.py",
        "clip(gradients, plan.clip_norm)",
        "clip([each for each in found if each is not None], plan.clip_norm)",
        ("tests/engine/training/test_gradients.py::test_the_bound_is_on_what_the_method_made_of_the_gradients",),
    ),
    Mutation(
        "parts-loss",  # the loss of a divided batch is the mean of its shares
        "clbench/engine/training/gradients.py",
        "torch.stack(losses).sum()",
        "torch.stack(losses).mean()",
        ("tests/engine/training/test_gradients.py::test_micro_batches_make_the_step_and_the_loss_of_the_whole",),
    ),
    Mutation(
        "parts-first-only",  # a parameter that the first part does not use gets no gradient
        "clbench/engine/training/gradients.py",
        "return new if before is None else before",
        "return before",
        ("tests/engine/training/test_gradients.py::test_a_head_that_only_a_later_part_uses_gets_its_gradient",),
    ),
    Mutation(
        "parts-own",  # every part counts as the batch's own samples
        "clbench/engine/learner/batch.py",
        "min(max(self.own - first, 0), len(part))",
        "min(self.own, len(part))",
        ("tests/engine/training/test_gradients.py::test_parts_of_a_batch_know_which_samples_are_its_own",),
    ),
    Mutation(
        "parts-penalty",  # a penalty is left out where a batch is divided
        "clbench/engine/training/gradients.py",
        "return loss if share == 1 else loss * share",
        "return loss if share == 1 else method.criterion(learner, batch, logits) * share",
        ("tests/engine/training/test_gradients.py::test_micro_batches_make_the_step_and_the_loss_of_the_whole",),
    ),
    Mutation(
        "moments-carried",  # moments go on from task to task although they start anew
        "clbench/engine/learner/weights.py",
        "        if not self.optimizer.carry:\n            self.optimizer.reset()\n",
        "",
        ("tests/engine/test_optimizers.py::test_moments_that_carry_over_are_those_of_one_torch_optimiser_for_all_tasks",),
    ),
    Mutation(
        "adam-bias",  # the second moment is not corrected for its start
        "clbench/engine/optimizers.py",
        "[(1 - beta2 ** self._steps[name]) ** 0.5 for name in names]",
        "[1.0 for _ in names]",
        ("tests/engine/test_optimizers.py::test_adam_is_torch_adam",),
    ),
    Mutation(
        "decay-coupled",  # decoupled weight decay goes through the preconditioner, too
        "clbench/engine/optimizers.py",
        "if self.weight_decay and not self.decoupled:",
        "if self.weight_decay:",
        ("tests/engine/test_optimizers.py::test_adam_is_torch_adam",),
    ),
    Mutation(
        "stacked-mode",  # seeds side by side go on in evaluation mode after a measurement
        "clbench/engine/replicas/stacked_loop.py",
        "                    self.stack.train()\n",
        "                    pass\n",
        ("tests/engine/replicas/test_stacked_loop.py::test_measuring_within_a_task_changes_nothing_and_is_in_evaluation_mode",),
    ),
    Mutation(
        "stacked-measured-in-training",  # seeds side by side are measured in training mode
        "clbench/engine/replicas/stacked_loop.py",
        "        self.stack.train(False)\n",
        "",
        ("tests/engine/replicas/test_stacked_loop.py::test_measuring_within_a_task_changes_nothing_and_is_in_evaluation_mode",),
    ),
    Mutation(
        "stacked-rate",  # seeds side by side never change their rate
        "clbench/engine/replicas/stacked_loop.py",
        "            rate = following\n",
        "",
        ("tests/engine/replicas/test_stacked_loop.py::test_clipping_is_by_replica_and_schedules_are_followed",),
    ),
)
