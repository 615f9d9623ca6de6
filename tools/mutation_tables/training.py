"""Mutations of the loop over a task: validation, rates, epochs, modes, data access."""

from tools.mutation_tables.mutation import Mutation

MUTATIONS = (
    Mutation(
        "validation-on-training",  # the validation loss is that of the training data
        "clbench/engine/training/loop.py",
        "valid = self.task.valid\n",
        "valid = self.task.train\n",
        ("tests/engine/training/test_validation_loss.py::test_it_is_the_mean_over_the_validation_split_in_evaluation_mode",),
    ),
    Mutation(
        "validation-training-mode",  # with dropout on
        "clbench/engine/training/loop.py",
        "        learner.model.eval()\n        total",
        "        total",
        ("tests/engine/training/test_validation_loss.py::test_it_is_the_mean_over_the_validation_split_in_evaluation_mode",),
    ),
    Mutation(
        "validation-last-part",  # the last part, a smaller one, counts as much as the others
        "clbench/engine/training/loop.py",
        "learner.forward(batch))) * len(part)",
        "learner.forward(batch))) * len(parts[0])",
        ("tests/engine/training/test_validation_loss.py::test_it_is_the_mean_over_the_validation_split_in_evaluation_mode",),
    ),
    Mutation(
        "validation-augmented",  # on images that are cropped at random
        "clbench/engine/training/loop.py",
        "learner.batch(valid, part, raw=raw)",
        'learner.batch(valid, part, 0, learner.generator("validation"), raw)',
        ("tests/engine/training/test_validation_loss.py::test_it_is_of_images_as_they_are",),
    ),
    Mutation(
        "validation-own-loss",  # the method's own loss and not the cross-entropy
        "clbench/engine/training/loop.py",
        "Method.criterion(self.method, learner",
        "self.method.criterion(learner",
        ("tests/engine/training/test_validation_loss.py::test_it_is_without_the_methods_own_loss",),
    ),
    Mutation(
        "best-epoch-last-of-equals",  # of equal losses the last counts as best
        "clbench/engine/training/loop.py",
        "valid is not None and valid < best",
        "valid is not None and valid <= best",
        ("tests/engine/training/test_validation_loss.py::test_of_equal_losses_the_first_is_the_best",),
    ),
    Mutation(
        "best-weights-alias",  # the best weights go on changing
        "clbench/engine/training/loop.py",
        "{key: value.clone() for key, value in learner.model.state_dict().items()}",
        "dict(learner.model.state_dict())",
        ("tests/engine/training/test_validation_loss.py::test_the_best_epoch_is_the_one_of_the_lowest_loss",),
    ),
    Mutation(
        "schedule-started-once",  # later tasks begin where the first one's schedule ended
        "clbench/engine/training/loop.py",
        "learner, rate = self.learner, pace.start(self.learner.base_lr)",
        "learner = self.learner\n        rate = learner.lr if self.task.index else pace.start(learner.base_lr)",
        ("tests/engine/training/test_rates.py::test_a_plateau_begins_every_task_with_its_rate_no_best_loss_and_full_patience",),
    ),
    Mutation(
        "schedule-not-followed",  # the rate of the first epoch holds for all
        "clbench/engine/training/loop.py",
        "            rate = following\n",
        "",
        ("tests/engine/training/test_rates.py::test_a_step_schedule_begins_anew_in_every_task",),
    ),
    Mutation(
        "plateau-best-kept",  # the best loss of the first task counts in later ones
        "clbench/engine/schedules.py",
        "= lr, math.inf, self.patience",
        '= lr, getattr(self, "_best", math.inf), self.patience',
        ("tests/engine/training/test_rates.py::test_a_plateau_begins_every_task_with_its_rate_no_best_loss_and_full_patience",),
    ),
    Mutation(
        "plateau-patience-kept",  # a new best does not give the patience back
        "clbench/engine/schedules.py",
        "self._best, self._left = valid_loss, self.patience",
        "self._best = valid_loss",
        ("tests/engine/training/test_rates.py::test_a_new_best_gives_the_whole_patience_again",),
    ),
    Mutation(
        "plateau-least-rate",  # stops before the least rate was used
        "clbench/engine/schedules.py",
        "if self._lr < self.min_lr",
        "if self._lr <= self.min_lr",
        ("tests/engine/training/test_rates.py::test_a_plateau_still_uses_its_least_rate_and_stops_below_it",),
    ),
    Mutation(
        "plateau-equal-is-better",  # a loss as low as the best is a new best
        "clbench/engine/schedules.py",
        "if valid_loss < self._best",
        "if valid_loss <= self._best",
        ("tests/engine/training/test_rates.py::test_a_loss_as_low_as_the_best_is_no_new_best",),
    ),
    Mutation(
        "cosine-straight",  # a straight line between the same ends
        "clbench/engine/schedules.py",
        "0.5 * (1 + math.cos(math.pi * (epoch + 1) / self._epochs))",
        "1 - (epoch + 1) / self._epochs",
        ("tests/engine/training/test_rates.py::test_a_cosine_is_half_a_cosine",),
    ),
    Mutation(
        "later-rate-at-once",  # the rate of later tasks is used in the first, too
        "clbench/engine/training/loop.py",
        "if later is None or task.index == 0 else later",
        "if later is None else later",
        ("tests/engine/training/test_rates.py::test_the_later_rate_is_for_later_tasks_only",),
    ),
    Mutation(
        "epochs-of-the-first",  # a list of epochs: the first entry for all tasks
        "clbench/engine/training/task_length.py",
        "each[min(task.index, len(each) - 1)]",
        "each[0]",
        ("tests/engine/training/test_rates.py::test_the_last_entry_of_epochs_holds_for_all_later_tasks",),
    ),
    Mutation(
        "own-steps-ignored",  # a task's own number of steps is ignored
        "clbench/engine/training/task_length.py",
        "task.iterations or trainer.iterations",
        "trainer.iterations",
        ("tests/engine/training/test_rates.py::test_a_tasks_own_number_of_steps_comes_before_the_trainers",),
    ),
    Mutation(
        "work-ignored",  # a slow client does all the work
        "clbench/engine/training/task_length.py",
        "max(1, round(work * steps))",
        "steps",
        ("tests/engine/training/test_rates.py::test_a_share_of_the_work_is_a_share_of_the_steps",),
    ),
    Mutation(
        "last-batch-dropped",  # the last samples of an epoch are never trained on
        "clbench/engine/learner/batch.py",
        "([n % size] if n % size else [])",
        "([n % size] if n < size else [])",
        ("tests/engine/training/test_epochs.py::test_no_sample_is_left_out_where_the_last_batch_is_a_part_of_one",),
    ),
    Mutation(
        "curve-of-the-last",  # the curve shows the last batch of an epoch, not its mean
        "clbench/engine/training/loop.py",
        "float(torch.stack(losses).mean())",
        "float(losses[-1])",
        ("tests/engine/training/test_epochs.py::test_the_curve_is_the_mean_over_the_steps_of_each_epoch",),
    ),
    Mutation(
        "samples-of-whole-epochs",  # an epoch cut short counts as a whole one
        "clbench/engine/training/loop.py",
        "self.samples += sum(sizes)",
        "self.samples += len(split)",
        ("tests/engine/training/test_epochs.py::test_samples_are_those_that_were_trained_on",),
    ),
    Mutation(
        "mode-after-measuring",  # after a measurement within a task, training goes on in evaluation mode
        "clbench/engine/training/loop.py",
        "                        learner.train()\n",
        "                        pass\n",
        ("tests/engine/training/test_epochs.py::test_steps_are_in_training_mode_whatever_was_measured_before",),
    ),
    Mutation(
        "mode-of-an-epoch",  # training in evaluation mode after the measurement of a task's end
        "clbench/engine/training/loop.py",
        "        learner.train()\n        losses",
        "        losses",
        ("tests/engine/training/test_epochs.py::test_steps_are_in_training_mode_whatever_was_measured_before",),
    ),
    Mutation(
        "frozen-statistics",  # frozen modules are in training mode
        "clbench/engine/learner/weights.py",
        "            module.eval()\n",
        "            module.train()\n",
        ("tests/engine/training/test_epochs.py::test_frozen_modules_stay_in_evaluation_mode",),
    ),
    Mutation(
        "frozen-parameters",  # frozen parameters are differentiated and moved
        "clbench/engine/learner/parameters.py",
        "if parameter.requires_grad and (",
        "if parameter.requires_grad_() is not None and (",
        ("tests/engine/training/test_epochs.py::test_frozen_parameters_do_not_move",),
    ),
    Mutation(
        "request-learned",  # a method that ignores requests learns the data to forget
        "clbench/engine/training/loop.py",
        'task.kind == "forget" and self.method.requests == "ignored"',
        'task.kind == "forget" and self.method.requests == "refused"',
        ("tests/engine/training/test_epochs.py::test_a_request_that_a_method_ignores_moves_nothing",),
    ),
    Mutation(
        "history-with-current",  # the data of earlier tasks includes the current one
        "clbench/engine/training/data_access.py",
        "return stream.tasks[: task.index]\n",
        "return stream.tasks[: task.index + 1]\n",
        ("tests/engine/training/test_data_access.py::test_history_is_what_the_declared_access_covers",),
    ),
)
