"""Mutations of methods, of detection, of federated servers, and of what these stand on."""

from tools.mutation_tables.mutation import Mutation

MUTATIONS = (
    Mutation(
        "o3-key-still",  # the momentum encoder never moves
        "clbench/detection/contrast.py",
        "slow.lerp_(fast, 1 - momentum)",
        "slow.lerp_(fast, 0.0)",
        ("tests/detection/test_contrast.py::test_the_key_moves_as_momentum_says",),
    ),
    Mutation(
        "o3-weight-upside-down",  # suppresses dissimilar inputs
        "clbench/detection/boundary.py",
        "torch.where(h >= middle, torch.ones_like(apart), 1 - apart)",
        "torch.where(h <= middle, torch.ones_like(apart), 1 - apart)",
        ("tests/detection/test_boundary.py::test_a_boundary_lies_around_what_it_was_fitted_to",),
    ),
    Mutation(
        "o3-overlap-nothing",  # an orthogonal loss that is silently 0
        "clbench/methods/o3.py",
        "products = [past @ learner.parameters",
        "products = [0 * past @ learner.parameters",
        ("tests/methods/test_o3.py::test_the_penalty_is_nothing_only_where_all_products_are",),
    ),
    Mutation(
        "o3-adapter-stays-on",  # the last adapter acts on every input
        "clbench/methods/o3.py",
        "        self._past = {}\n        self._rest(learner)",
        "        self._past = {}",
        ("tests/methods/test_o3.py::test_training_is_on_the_adapter_at_full_weight",),
    ),
    Mutation(
        "relabelled-right",  # random answers that may be right where they must not
        "clbench/methods/random_targets.py",
        '1 if choice == "other" and n > 1 else 0',
        "0",
        ("tests/methods/test_random_targets.py::test_other_answers_are_never_right_and_prompts_stay",),
    ),
    Mutation(
        "ewc-sign",  # the penalty pushes away from the anchors
        "clbench/methods/ewc.py",
        "pull, alpha=self.strength)",
        "pull, alpha=-self.strength)",
        ("tests/methods/test_ewc.py::test_the_gradient_is_that_of_the_written_penalty",),
    ),
    Mutation(
        "reservoir-fifo",  # the newest samples overwrite the oldest
        "clbench/engine/replay/policies.py",
        "slots = torch.where(order < memory.size, order, drawn)",
        "slots = order % memory.size",
        ("tests/engine/replay/test_memory.py::test_every_sample_is_held_with_the_same_probability",),
    ),
    Mutation(
        "end-task-skipped",
        "clbench/engine/training/loop.py",
        "        self.method.end_task(self.learner, self.task, self.history(self.task))\n",
        "",
        ("tests/methods/test_ewc.py::test_a_strong_penalty_holds_the_first_task",),
    ),
    Mutation(
        "stacked-clipping",  # one norm for all seeds
        "clbench/engine/optimizers.py",
        "norms = torch.stack([gradient.flatten(1).square().sum(1) for gradient in gradients]).sum(0).sqrt()",
        "norms = torch.stack([gradient.square().sum() for gradient in gradients]).sum(0).sqrt()",
        ("tests/engine/replicas/test_stacked_loop.py::test_clipping_is_by_replica_and_schedules_are_followed",),
    ),
    Mutation(
        "agem-condition",  # projects where the gradients agree
        "clbench/methods/agem.py",
        "torch.dot(g, r).clamp(max=0)",
        "torch.dot(g, r).clamp(min=0)",
        ("tests/methods/test_agem.py::test_the_projection_is_that_of_equation_11",),
    ),
    Mutation(
        "agem-sign",  # adds what should be taken away
        "clbench/methods/agem.py",
        "torch._foreach_sub_(edited,",
        "torch._foreach_add_(edited,",
        ("tests/methods/test_agem.py::test_the_projection_is_that_of_equation_11",),
    ),
    Mutation(
        "der-current-logits",  # compares with what the model says now
        "clbench/methods/der.py",
        'self.memory.kept["logits"].index_select(0, slots)',
        "now.detach()",
        ("tests/methods/test_der.py::test_the_penalty_is_the_written_one",),
    ),
    Mutation(
        "si-step",  # the path integral adds up gradients, not gradients times steps
        "clbench/methods/si.py",
        "torch._foreach_addcmul_(integrals, [slopes[name] for name in names], steps, value=learner.lr)",
        "torch._foreach_add_(integrals, [slopes[name] for name in names], alpha=learner.lr)",
        ("tests/methods/test_si.py::test_the_integral_is_minus_the_sum_of_gradient_times_step_by_hand",),
    ),
    Mutation(
        "icarl-first",  # the first samples instead of herding
        "clbench/methods/icarl.py",
        "own[herd(features[own], share)]",
        "own[:share]",
        ("tests/methods/test_icarl.py::test_exemplars_are_herded_from_their_class_and_shares_are_equal",),
    ),
    Mutation(
        "forgetting-last",  # from the last accuracy instead of the best
        "clbench/metrics/matrix.py",
        "_best(_at(A, k, j) for k in range(j, last))",
        "_at(A, last - 1, j)",
        ("tests/metrics/test_matrix.py::test_worked_example",),
    ),
    Mutation(
        "foreign-heads",  # heads of other tasks compete
        "clbench/engine/learner/learner.py",
        'return batch.joint.masked_fill(foreign, float("-inf"))',
        "return batch.joint",
        ("tests/engine/learner/test_learner.py::test_the_loss_of_a_joined_batch_is_the_mean_over_both_heads",),
    ),
    Mutation(
        "replay-as-current",  # a sample replays in the view of the current task
        "clbench/engine/replay/memory.py",
        "gather(self.rows.index_select(0, slots), self.tasks.index_select(0, slots))",
        "gather(self.rows.index_select(0, slots), torch.full_like(slots, self.learner.task))",
        ("tests/engine/replay/test_memory.py::test_a_permuted_sample_replays_permuted",),
    ),
    Mutation(
        "replay-view",  # without the view of its task
        "clbench/stream.py",
        "return Split(pool, rows, labels, tasks, self.view_table)",
        "return Split(pool, rows, labels, tasks, None)",
        ("tests/engine/replay/test_memory.py::test_a_permuted_sample_replays_permuted",),
    ),
    Mutation(
        "replay-labels",  # with the pool's class number instead of its task's label
        "clbench/stream.py",
        "labels = self.label_table[tasks, pool.targets.index_select(0, rows)]",
        "labels = pool.targets.index_select(0, rows)",
        ("tests/engine/replay/test_memory.py::test_the_split_is_what_is_held_with_its_labels",),
    ),
    Mutation(
        "gpm-hook",  # steps are not projected
        "clbench/methods/gpm.py",
        "            self._projection(updates)\n",
        "            pass\n",
        ("tests/methods/test_gpm.py::test_outputs_on_stored_inputs_do_not_move",),
    ),
    Mutation(
        "projection-early",  # at the inputs, without the bias's constant
        "clbench/toolkit/step_projection.py",
        "flat.new_ones(len(flat))",
        "flat.new_zeros(len(flat))",
        ("tests/toolkit/test_step_projection.py::test_at_the_inputs_or_at_the_step",),
    ),
    Mutation(
        "projection-chain",  # the same without autograd
        "clbench/engine/fast/mlp_backward.py",
        "x.new_ones(x.shape[0])",
        "x.new_zeros(x.shape[0])",
        ("tests/toolkit/test_step_projection.py::test_at_the_inputs_or_at_the_step",),
    ),
    Mutation(
        "rogo-fold",  # the relaxed directions are lost at the end of the task
        "clbench/methods/rogo.py",
        "learner.parameters[name].copy_(value)",
        "learner.parameters[name].copy_(learner.parameters[name])",
        ("tests/methods/test_rogo.py::test_folding_leaves_the_function_and_the_own_step_is_off_the_past",),
    ),
    Mutation(
        "osft-hook",  # steps along the retained directions are not removed
        "clbench/methods/osft.py",
        "subspace.keep_off(left, layer.U_high)",
        "subspace.keep_off(left.clone(), layer.U_high)",
        ("tests/methods/test_osft.py::test_no_step_moves_a_weight_along_what_is_retained",),
    ),
    Mutation(
        "olora-silent",  # the penalty is always 0, as users report of the authors' program
        "clbench/methods/olora.py",
        "value = value + self._now[0] * overlap",
        "value = value + 0.0 * overlap",
        ("tests/methods/test_olora.py::test_the_penalty_and_its_gradient_are_those_of_the_authors",),
    ),
    Mutation(
        "parts-weight",  # each part of a batch has the weight of a whole one, and a penalty counts once per part
        "clbench/engine/training/gradients.py",
        "share = len(part.labels) / len(batch.labels)",
        "share = 1.0",
        ("tests/methods/test_answers.py::test_a_batch_in_parts_gives_the_step_of_the_whole_and_counts_a_penalty_once",),
    ),
    Mutation(
        "chain-relu",  # a perceptron's backward pass goes through units that were off
        "clbench/engine/fast/mlp_backward.py",
        "delta = aten.threshold_backward.default(total, inputs[i + 1], 0)",
        "delta = total",
        ("tests/engine/fast/test_mlp_backward.py::test_gradients_are_autograds",),
    ),
    Mutation(
        "chain-hooks",  # hooks of modules are ignored
        "clbench/engine/fast/mlp_layers.py",
        "        if any(self.hooks) or _has_any_global_hook():",
        "        if _has_any_global_hook():",
        ("tests/engine/fast/test_mlp_backward.py::test_what_is_attached_is_met",),
    ),
    Mutation(
        "exact-match",  # one right token is enough
        "clbench/engine/evaluation/text_metrics.py",
        "answer_tokens.owners(rows), wrong.long()) == 0",
        "answer_tokens.owners(rows), wrong.long()) < answer_tokens.counts(rows)",
        ("tests/engine/evaluation/test_text_metrics.py::test_exact_match_is_what_greedy_decoding_writes",),
    ),
    Mutation(
        "fot-projection",  # the averaged update is applied as it is
        "clbench/federated/servers/fot.py",
        "            weight_matrices.project(updates, matrices, self._projectors)",
        "            pass",
        ("tests/federated/servers/test_fot.py::test_every_update_is_orthogonal_to_the_stored_subspace",),
    ),
    Mutation(
        "federated-weights",  # all clients have the same weight
        "clbench/federated/federated_training.py",
        'weight = float(reply.samples) if self.server.weighting == "samples" else 1.0',
        "weight = 1.0",
        ("tests/federated/test_federated_training.py::test_the_next_model_is_the_mean_weighted_by_samples",),
    ),
)
