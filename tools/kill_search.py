"""Kill clbench-tune at random moments, start it again, and compare with an undisturbed search.

    python -m tools.kill_search              # 20 kills
    python -m tools.kill_search --kills 3 --seed 7

Trials, choice and reported records (identity and result) must be equal. The exit status is 1 if they are not, or if a start after
a kill fails.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
from pathlib import Path
from time import monotonic
from typing import Any

from clbench.records import load_all
from clbench.utils.processes import kill_descendants

WORDS = ["method=er,gpm", "scenario=split_digits", "tuning.trials=8", "tuning.seeds=2", "seeds=2", "tuning.startup=4"]
"""Two studies of 16 runs each; half of the trials are proposed by the model of the sampler."""


def command(folder: Path) -> list[str]:
    """Return the command for a results folder."""
    return [sys.executable, "-m", "clbench.cli.tune", *WORDS, f"results_dir={folder}"]


def outcome(folder: Path) -> dict[str, Any]:
    """Return what must not depend on kills: the trials of each study, and the reported records without cost and provenance."""
    from optuna import logging
    from optuna.storages import JournalStorage
    from optuna.storages.journal import JournalFileBackend

    logging.set_verbosity(logging.ERROR)
    storage = JournalStorage(JournalFileBackend(str(folder / "tuning" / "journal.log")))
    studies = {
        study.study_name: [
            (trial.number, trial.params, trial.value, trial.state.name, trial.intermediate_values)
            for trial in storage.get_all_trials(study._study_id)
        ]
        for study in storage.get_all_studies()
    }
    records, errors = load_all(folder)
    if errors:
        raise SystemExit(f"unreadable: {errors[0]}")
    return {"studies": studies, "records": {record.id: record.result for record in records}}


def killed(folder: Path, kills: int, randomness: random.Random, longest: float) -> tuple[int, str]:
    """Start the command, kill it after a random time, and start it again. Return the number of kills, and what went wrong.

    Args:
        folder: results folder.
        kills: how many.
        randomness: draws moments and signals.
        longest: seconds of an undisturbed search; most kills come while there is work left.
    """
    done = 0
    while done < kills:
        process = subprocess.Popen(
            command(folder), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, start_new_session=True
        )
        try:
            process.wait(randomness.uniform(0.2, max(1.0, longest / 3)))
        except subprocess.TimeoutExpired:
            done += 1
            if randomness.random() < 0.5:
                kill_descendants(process.pid)  # as a machine that stops
            process.send_signal(randomness.choice([signal.SIGKILL, signal.SIGKILL, signal.SIGTERM]))
            process.communicate()
            continue
        output = process.communicate()[0]
        if process.returncode != 0:
            return done, f"status {process.returncode} after {done} kills:\n{output[-2000:]}"
        for path in [folder / "tuning"]:  # it has ended: begin anew, so that all kills have something to meet
            if done < kills and path.exists():
                for file in sorted(path.rglob("*.json"))[:: randomness.randint(2, 4)]:
                    os.unlink(file)
    last = subprocess.run(command(folder), capture_output=True, text=True, check=False)
    return done, "" if last.returncode == 0 else f"the last start failed:\n{last.stderr[-2000:]}"


def main() -> None:
    """Search undisturbed, search with kills, compare."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        calm, hurt = Path(scratch, "calm"), Path(scratch, "killed")
        begun = monotonic()
        subprocess.run(command(calm), check=True, capture_output=True)
        longest = monotonic() - begun
        done, fault = killed(hurt, given.kills, random.Random(given.seed), longest)
        if fault:
            print(fault)
            sys.exit(1)
        one, other = outcome(calm), outcome(hurt)
        differences = [key for key in one if json.dumps(one[key], sort_keys=True) != json.dumps(other[key], sort_keys=True)]
        trials = sum(map(len, one["studies"].values()))
        print(
            f"{done} kills, {trials} trials, {len(one['records'])} reported records, {len(differences)} differences {differences}"
        )
        sys.exit(1 if differences else 0)


if __name__ == "__main__":
    main()
