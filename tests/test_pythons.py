"""On which Pythons `lab` runs, and what an older one is told; `nox -s pythons` tries all that the machine has."""

import ast
import subprocess
import sys

import pytest
from conftest import PYTHON, TEMPLATE

NEEDED = "lab: Python 3.9 or newer is needed, and this is {}\n"


def test_this_python_shows_lab_s_help_or_is_told_in_one_line_that_it_is_too_old(make_folder, environment):
    folder = make_folder("least")
    asked = "import sys; print(sys.version_info >= (3, 9), sys.version.split()[0])"
    answer = subprocess.run([PYTHON, "-c", asked], stdout=subprocess.PIPE, encoding="utf-8", check=True).stdout
    new_enough, version = answer.split()
    done = subprocess.run([PYTHON, folder / "lab", "--help"], env=environment, capture_output=True, encoding="utf-8")
    if new_enough == "True":
        assert (done.returncode, done.stderr) == (0, "")
        assert done.stdout.startswith("lab")
    else:
        assert (done.returncode, done.stdout, done.stderr) == (1, "", NEEDED.format(version))


@pytest.mark.parametrize("version", ["3.6.15", "3.8.20"])
def test_a_python_that_says_that_it_is_older_is_told_in_one_line(make_folder, environment, version):
    pretend = f"""
import runpy, sys
sys.version, sys.version_info = "{version} (main)", {tuple(map(int, version.split(".")))}
runpy.run_path(sys.argv[1], run_name="__main__")
"""
    command = [sys.executable, "-c", pretend, make_folder("least") / "lab", "--help"]
    done = subprocess.run(command, env=environment, capture_output=True, encoding="utf-8")
    assert (done.returncode, done.stdout, done.stderr) == (1, "", NEEDED.format(version))


def test_what_lab_begins_with_is_read_by_an_older_python():
    # the oldest grammar that this Python's own parser still knows
    oldest = (3, 7) if sys.version_info >= (3, 13) else (3, 4)
    ast.parse((TEMPLATE / "lab").read_text(encoding="utf-8"), feature_version=oldest)


def test_what_runs_with_the_login_nodes_own_python_does_so_also_with_an_old_one(make_folder, environment, tmp_path):
    folder = make_folder("least")
    (tmp_path / "share/jupyter/kernels/ir").mkdir(parents=True)
    (tmp_path / "share/jupyter/kernels/ir/kernel.json").write_text('{"language": "R"}')
    notebook = '{"nbformat": 4, "cells": [], "metadata": {"kernelspec": {"name": "ir"}}}'
    (tmp_path / "a.ipynb").write_text(notebook)
    (tmp_path / "8").mkdir()
    (tmp_path / "8/rows.json").write_text('[{"values": {"x": 1}}, {"values": {"x": 2}}]')
    for words, line in (
        (["login_node/language.py", tmp_path / "a.ipynb", tmp_path], "R\t\n"),
        (["cluster/sweep.py", "8", "2", "over", tmp_path / "8"], "8\t2\t0\t0\t0\t0\t2\t\n"),
    ):
        done = subprocess.run(
            [PYTHON, folder / "lib" / words[0], *words[1:]],
            env=environment,
            input="",
            capture_output=True,
            encoding="utf-8",
        )
        assert (done.returncode, done.stdout, done.stderr) == (0, line, "")
    assert (tmp_path / "8/rows.csv").read_text().startswith("row,state,")
