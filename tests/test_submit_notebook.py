"""Notebooks as batch jobs: nbconvert, then sbatch, as on the wiki page."""

import json

import pytest
from life import Life


def notebook(*cells, **metadata):
    """The text of a notebook with these cells, of Python unless the metadata say something else."""
    return json.dumps(
        {
            "cells": [
                {
                    "cell_type": "code",
                    "execution_count": None,
                    "id": f"c{number}",
                    "metadata": {},
                    "outputs": [],
                    "source": [cell],
                }
                for number, cell in enumerate(cells)
            ],
            "metadata": metadata
            or {"kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"}},
            "nbformat": 4,
            "nbformat_minor": 5,
        }
    )


def state(lab, job):
    """The job's end state, as sacct tells it."""
    wait = f"until s=$(sacct -nX -j {job} -o state%20) && [[ $s == *[A-Z]* && $s != *PENDING* && $s != *RUNNING* ]]; do sleep 0.5; done; echo $s"
    return lab.on_login(wait).stdout.strip()


def test_a_notebook_runs_and_its_output_is_where_the_script_says(lab):
    lab.cluster.write("login", "student", "lab/helper.py", "WORD = 'helped'\n")
    lab.cluster.write(
        "login",
        "student",
        "lab/mon été 50%.ipynb",
        notebook("import helper, socket", "print(helper.WORD, socket.gethostname())"),
    )
    done = lab.on_login("./submit_notebook.sh 'mon été 50%.ipynb'")
    assert done.returncode == 0, done.stderr
    job = done.stdout.split()[3]
    assert done.stdout == (
        f"Submitted batch job {job}\n"
        f"Its output goes to /home/student/lab/mon été 50%-{job}.out\n"
        f"To follow it: squeue --me, and once it has ended: sacct -j {job}. To cancel it: scancel {job}\n"
        "Its results are on the cluster, where the notebook writes them.\n"
    )
    assert state(lab, job) == "COMPLETED"
    output = lab.cluster.read("login", "student", f"lab/mon été 50%-{job}.out")
    assert output.splitlines()[-1] in ("helped node1", "helped node2")


def test_the_printed_script_runs_when_given_to_sbatch_as_it_is(lab):
    lab.cluster.write("login", "student", "lab/plain.ipynb", notebook("print('from the printed script')"))
    assert lab.on_login("./submit_notebook.sh --print plain.ipynb --time=0:10:00 >kept.sh").returncode == 0
    kept = lab.cluster.read("login", "student", "lab/kept.sh")
    assert kept.startswith("#!/bin/bash\n#SBATCH --time=1:00:00\n#SBATCH --ntasks=1\n")
    submitted = lab.on_login("cd / && sbatch --parsable ~/lab/kept.sh")
    assert submitted.returncode == 0, submitted.stderr
    job = submitted.stdout.strip()
    assert state(lab, job) == "COMPLETED"
    assert lab.cluster.read("login", "student", f"lab/plain-{job}.out").endswith("from the printed script\n")
    # the option that came last won
    assert lab.on_login(f"squeue --noheader --states=all --jobs={job} --format=%l").stdout.strip() == "10:00"


def test_a_failing_notebook_ends_the_job_as_failed(lab):
    lab.cluster.write("login", "student", "lab/fails.ipynb", notebook("print('before')", "1 / 0", "print('after')"))
    job = lab.on_login("./submit_notebook.sh fails.ipynb").stdout.split()[3]
    assert state(lab, job) == "FAILED"
    output = lab.cluster.read("login", "student", f"lab/fails-{job}.out")
    assert "before" in output and "ZeroDivisionError" in output and "after" not in output.splitlines()


def test_magics_and_commands_of_a_notebook_run_too(lab):
    lab.cluster.write("login", "student", "lab/magic.ipynb", notebook("files = !echo from a command", "print(files)"))
    job = lab.on_login("./submit_notebook.sh magic.ipynb").stdout.split()[3]
    assert state(lab, job) == "COMPLETED"
    assert "from a command" in lab.cluster.read("login", "student", f"lab/magic-{job}.out")


def test_a_notebook_in_another_language_is_refused(lab):
    text = notebook("1").replace('"language": "python"', '"language": "R"')
    lab.cluster.write("login", "student", "lab/other.ipynb", text)
    done = lab.on_login("./submit_notebook.sh other.ipynb")
    assert (done.returncode, done.stderr) == (
        64,
        "submit_notebook.sh: other.ipynb is written in R; only Python notebooks can be run as a script. "
        "Run it in JupyterLab.\n",
    )


@pytest.mark.parametrize(
    ("words", "status", "line"),
    [
        ("", 64, "Name the notebook, for example: ./submit_notebook.sh analysis.ipynb"),
        ("nowhere.ipynb", 64, "There is no notebook nowhere.ipynb; give the path of a file that ends in .ipynb"),
        ("settings.yml", 64, "There is no notebook settings.yml; give the path of a file that ends in .ipynb"),
        ("empty.ipynb", 64, "empty.ipynb is not a Jupyter notebook (it has no “nbformat”)."),
    ],
)
def test_what_is_no_notebook_is_refused(words, status, line, lab):
    done = lab.on_login(f"echo >empty.ipynb; ./submit_notebook.sh {words}")
    assert (done.returncode, done.stdout, done.stderr) == (status, "", f"submit_notebook.sh: {line}\n")
    assert lab.jobs() == ""


def test_a_job_that_slurm_refuses_is_one_line_and_nothing_is_submitted(lab):
    lab.cluster.write("login", "student", "lab/plain.ipynb", notebook("1"))
    done = lab.on_login("./submit_notebook.sh plain.ipynb --account=def-nobody")
    assert done.returncode == 1
    assert done.stderr == (
        "submit_notebook.sh: Slurm refused the job: Invalid account or account/partition combination specified "
        "(look at --account=def-nobody)\n"
    )
    assert lab.jobs() == ""


def test_a_notebook_in_a_read_only_home_is_sent_to_scratch(idle, other_folder, built):
    lab = Life(idle, other_folder, home_on_compute="read_only", submit_from="scratch")
    idle.write("login", "student", "lab/plain.ipynb", notebook("import os; print(os.getcwd())"))
    done = lab.on_login("./submit_notebook.sh plain.ipynb")
    assert (done.returncode, done.stderr) == (
        64,
        "submit_notebook.sh: Jobs of login.vcluster.example cannot write to /home; copy plain.ipynb to /scratch/student "
        "and submit it from there.\n",
    )
    job = lab.on_login("cp plain.ipynb $SCRATCH/ && ./submit_notebook.sh $SCRATCH/plain.ipynb").stdout.split()[3]
    assert state(lab, job) == "COMPLETED"
    assert idle.read("login", "student", f"/scratch/student/plain-{job}.out").splitlines()[-1] == "/scratch/student"


def test_a_notebook_in_a_home_that_takes_no_jobs_runs_there_though_slurm_is_asked_on_scratch(idle, other_folder, built):
    lab = Life(idle, other_folder, submit_from="not_home")
    idle.write("login", "student", "lab/plain.ipynb", notebook("import os; print(os.getcwd())"))
    done = lab.on_login("./submit_notebook.sh plain.ipynb")
    assert (done.returncode, done.stderr) == (0, "")
    job = done.stdout.split()[3]
    assert "   WorkDir=/scratch/student\n" in lab.on_login(f"scontrol show job {job}").stdout
    assert state(lab, job) == "COMPLETED"
    assert idle.read("login", "student", f"lab/plain-{job}.out").splitlines()[-1] == "/home/student/lab"
