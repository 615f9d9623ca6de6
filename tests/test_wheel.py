"""A wheel carries everything it needs: built, installed apart, run from an empty folder."""

import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    """A folder that holds the installed wheel and nothing else."""
    build, site = tmp_path_factory.mktemp("dist"), tmp_path_factory.mktemp("site")
    command = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(build), str(ROOT)]
    subprocess.run(command, check=True, capture_output=True, timeout=300)
    (wheel,) = build.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(site)
    return site


def test_it_holds_the_package_the_configuration_and_nothing_else(site):
    assert (site / "clbench" / "conf" / "config.yaml").is_file()
    assert (site / "hydra_plugins" / "clbench_launcher.py").is_file()
    top = {path.name for path in site.iterdir() if not path.name.endswith(".dist-info")}
    assert top == {"clbench", "hydra_plugins"}


def test_a_job_runs_from_an_empty_folder(site, tmp_path):
    environment = {**os.environ, "PYTHONPATH": str(site), "OMP_NUM_THREADS": "1"}
    where = subprocess.run(
        [sys.executable, "-c", "import clbench; print(clbench.__file__)"],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
        check=True,
    )
    assert where.stdout.startswith(str(site))
    done = subprocess.run(
        [sys.executable, "-m", "clbench.cli.main", "-m", "method=naive,er", "trainer.epochs=1"],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
        timeout=300,
        stdin=subprocess.DEVNULL,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "2 trained, 0 already there, 0 failed" in done.stdout
    assert {path.name for path in tmp_path.iterdir()} == {"runs"}
    assert len(list((tmp_path / "runs").glob("*.json"))) == 2
