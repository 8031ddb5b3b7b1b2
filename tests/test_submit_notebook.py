"""Notebooks as batch jobs: nbconvert, then sbatch, as on the wiki page."""

import json
import re
import shlex

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


def submitted(lab, *names):
    """Submit these notebooks by hand; return their jobs' numbers."""
    jobs = []
    for name in names:
        done = lab.on_login(f"./submit_notebook.sh {shlex.quote(name)}")
        assert (done.returncode, done.stderr) == (0, "")
        jobs.append(done.stdout.split()[3])
        place = name.removesuffix(".ipynb")
        assert done.stdout.splitlines()[1] == f"Its output goes to /home/student/lab/{place}-{jobs[-1]}.out"
    return jobs


def test_what_only_ipython_knows_runs_too_and_how_it_ends_is_how_the_job_ends(lab):
    cells = [
        "files = !echo from a command",
        "print(files)",
        "%env PASSERELLE_X=by magic",
        "!echo $PASSERELLE_X",
        "print?",
    ]
    cells += [
        "%%bash\necho from bash",
        "get_ipython().user_ns['later'] = 43",
        "display(42)\ndisplay(later)",
        "__file__",
    ]
    notebooks = {
        "ipython": (notebook(*cells), "COMPLETED"),
        "await": (notebook("import asyncio\nprint('up')", "await asyncio.sleep(0)", "display('late')"), "COMPLETED"),
        "await fails": (notebook("import asyncio", "await asyncio.sleep(0)", "1 / 0", "print('af' 'ter')"), "FAILED"),
        "fails": (notebook("display('be' 'fore')", "1 / 0", "print('af' 'ter')"), "FAILED"),
        "exit": (notebook("import sys", "sys.exit(0)", "1 / 0"), "COMPLETED"),
        "exit 3": (notebook("import sys", "sys.exit(3)"), "FAILED"),
    }
    for name, (text, _) in notebooks.items():
        lab.cluster.write("login", "student", f"lab/{name}.ipynb", text)
    jobs = {name: submitted(lab, f"{name}.ipynb")[0] for name in notebooks}
    assert {name: state(lab, job) for name, job in jobs.items()} == {name: end for name, (_, end) in notebooks.items()}
    said = {name: lab.cluster.read("login", "student", f"lab/{name}-{job}.out") for name, job in jobs.items()}
    assert "['from a command']\nenv: PASSERELLE_X=by magic\nby magic\n" in said["ipython"]
    assert said["ipython"].endswith("from bash\n42\n43\n")
    assert said["await"].endswith("up\n'late'\n")
    assert "\n'before'\n" in said["fails"]
    for name in ("await fails", "fails"):
        # without colours: a file has none
        assert "ZeroDivisionError: division by zero" in said[name] and "\x1b" not in said[name]
        assert "after" not in said[name].splitlines()
    status = lab.on_login(f"sacct -nX -j {jobs['exit 3']} -o exitcode").stdout.strip()
    assert status == "3:0"


def test_what_is_printed_is_there_at_once(lab):
    lab.cluster.write("login", "student", "lab/long.ipynb", notebook("print('begun')", "import time; time.sleep(1000)"))
    (job,) = submitted(lab, "long.ipynb")
    # until the limit kills it, which would leave nothing of what waits in a buffer
    lab.on_login(f"until grep -q -x begun long-{job}.out; do sleep 0.2; done")
    assert lab.on_login(f"scancel --signal=KILL --full {job}").returncode == 0


def test_the_named_notebook_is_run_and_no_other(lab):
    names = ["b?", "bc", "*", "~", "%j %%", "-[it's] {é} $x\t\u00a0"]
    for name in names:
        lab.cluster.write("login", "student", f"lab/odd/{name}.ipynb", notebook(f"print('I am', {name!r})"))
    jobs = {name: submitted(lab, f"odd/{name}.ipynb")[0] for name in names if name != "bc"}
    for name, job in jobs.items():
        end = state(lab, job)
        output = lab.cluster.read("login", "student", f"lab/odd/{name}-{job}.out")
        assert end == "COMPLETED", output
        assert output.splitlines()[-1] == f"I am {name}"
    assert "bc" not in lab.on_login("ls odd/*.py").stdout


PYTHON = {"name": "python3", "display_name": "Python 3"}
IN_R = "x.ipynb is written in R; only Python notebooks can be run as a script. Run it in JupyterLab."
IN_JULIA = IN_R.replace("in R", "in julia")
DAMAGED = "x.ipynb is not a Jupyter notebook, or it is damaged; open it in JupyterLab, and save it from there."
NAMELESS = (
    "x.ipynb names the kernel mine, but no language, and only Python notebooks can be run as a script. If it is one: "
    "open it in JupyterLab, choose its kernel, and save it."
)


def old(language, cells="python"):
    """The text of a notebook of nbformat 3."""
    sheet = {"cells": [{"cell_type": "code", "input": ["1"], "language": cells, "metadata": {}, "outputs": []}]}
    metadata = {"name": "", **({"language": language} if language else {})}
    return json.dumps({"nbformat": 3, "nbformat_minor": 0, "metadata": metadata, "worksheets": [sheet]})


LANGUAGES = {
    "the language of the kernel": (notebook("1", kernelspec={"name": "x", "language": "R"}), IN_R),
    "what the kernel has said": (notebook("1", language_info={"name": "R"}), IN_R),
    "a kernel that says one thing, and a name another": (
        notebook("1", language_info={"name": "R"}, kernelspec=PYTHON),
        IN_R,
    ),
    "R's kernel alone": (notebook("1", kernelspec={"name": "ir", "display_name": "R"}), IN_R),
    "Julia's kernel alone": (notebook("1", kernelspec={"name": "julia-1.10"}), IN_JULIA),
    "a kernel that nobody knows": (notebook("1", kernelspec={"name": "mine"}), NAMELESS),
    "a kernel that leads elsewhere": (
        notebook("1", kernelspec={"name": "../x/mine"}),
        NAMELESS.replace("mine", "../x/mine"),
    ),
    "a kernel that is damaged": (notebook("1", kernelspec={"name": "broken"}), NAMELESS.replace("mine", "broken")),
    "Julia in the old format": (old("Julia"), IN_JULIA.replace("julia", "Julia")),
    "Julia in the old format's cells": (old("", "julia"), IN_JULIA),
    "Python in the old format": (old(""), ""),
    "Python's kernel alone": (notebook("1", kernelspec=PYTHON), ""),
    "a kernel that is installed": (notebook("1", kernelspec={"name": "registered"}), ""),
    "a capital letter": (notebook("1", kernelspec={"name": "x", "language": "Python"}), ""),
    "nothing": (notebook("1").replace('"kernelspec"', '"x"'), ""),
    "control characters": (notebook("1", language_info={"name": "\x1b[2JR\n"}), IN_R.replace("in R", "in [2JR")),
    **{
        f"not a notebook: {text[:40]}": (text, DAMAGED)
        for text in (
            *["", "\n", "{}", "[]", "null", "7", "nbformat", '{"nbformat": 4}', '{"nbformat": "4", "cells": []}'],
            *['{"nbformat": true, "cells": []}', '{"nbformat": 5, "cells": []}', '{"nbformat": 3, "cells": []}'],
            *['{"nbformat": 4, "cells": 1}', '{"nbformat": 4, "cells": [1]}', '{"nbformat": 4, "cells": [{}]}'],
            *[
                '{"nbformat": 4, "cells": []}',
                '{"nbformat": 4, "cells": [{"cell_type": "code", "source": "1"}], "metadata": {}}',
            ],
            '{"nbformat": 4, "metadata": {}, "cells": [{"cell_type": "code", "source": "1", "metadata": {"tags": null}}]}',
            '{"nbformat": 4, "metadata": {}, "cells": [{"cell_type": "code", "source": null, "metadata": {}}]}',
            '{"nbformat": 4, "metadata": {}, "cells": [{"cell_type": "markdown", "source": ["a", 1], "metadata": {}}]}',
            *['{"nbformat": 4, "cells": [], "metadata": null}', '{"nbformat": 4, "cells": [], "metadata": []}'],
            '{"nbformat": 4, "cells": [], "metadata": {"kernelspec": "ir"}}',
            '{"nbformat": 4, "cells": [], "metadata": {"kernelspec": {"name": 1}}}',
            '{"nbformat": 4, "cells": [], "metadata": {"language_info": {"name": ["R"]}}}',
            *["[" * 100000, notebook("1")[:-20], "\ufeff" + notebook("1"), "<<<<<<< before\n" + notebook("1")],
        )
    },
}


def test_a_name_that_leaves_no_room_for_those_of_what_the_job_makes_is_refused(make_folder, script):
    folder = make_folder("least")
    for name, most in (("é" * 110, True), ("é" * 110 + "a", False)):
        (folder / f"{name}.ipynb").write_text(notebook("1", kernelspec=PYTHON))
        done = script(folder / "submit_notebook.sh", "--print", f"{name}.ipynb")
        line = (
            f"submit_notebook.sh: The name of {name}.ipynb is too long: the files that its job makes begin with it. Give "
            "it one of at most 220 bytes (letters with accents have two).\n"
        )
        assert (done.returncode, done.stderr) == ((0, "") if most else (64, line))


@pytest.mark.parametrize(("text", "line"), LANGUAGES.values(), ids=LANGUAGES)
def test_a_notebook_in_another_language_is_refused(make_folder, script, tmp_path, text, line):
    folder = make_folder("least")
    (folder / "x.ipynb").write_text(text, encoding="utf-8")
    for name, language in (("ir", "R"), ("julia-1.10", "julia"), ("registered", "python")):
        kernel = tmp_path / "home/.local/share/jupyter/kernels" / name / "kernel.json"
        kernel.parent.mkdir(parents=True)
        kernel.write_text(json.dumps({"language": language, "argv": []}))
    broken = kernel.parent.with_name("broken")
    broken.mkdir()
    (broken / "kernel.json").write_text('{"argv": []}')
    done = script(folder / "submit_notebook.sh", "--print", "x.ipynb", HOME=tmp_path / "home")
    if line:
        assert (done.returncode, done.stdout, done.stderr) == (64, "", f"submit_notebook.sh: {line}\n")
    else:
        assert (done.returncode, done.stderr) == (0, "")


def test_a_folder_whose_name_would_be_lines_of_the_batch_script_is_refused(pristine_folder, script, tmp_path):
    for name in ("two\n#SBATCH --mail-user=eve", "at its end\n", 'a "quote"'):
        (tmp_path / name).mkdir()
        (tmp_path / name / "x.ipynb").write_text(notebook("1"))
        done = script(pristine_folder("least") / "submit_notebook.sh", "--print", "x.ipynb", cwd=tmp_path / name)
        assert (done.returncode, done.stdout, done.stderr) == (
            64,
            "",
            "submit_notebook.sh: The path of x.ipynb contains a double quote, a backslash or a newline, which sbatch cannot "
            "read; rename it.\n",
        )


@pytest.mark.parametrize(
    "option",
    ["--array=1-3", "--arr=1", "-a1-3", "--test-only", "--test", "--wrap=ls", "--wait", "-W", "--parsable", "--quiet"]
    + ["-Q", "--usage", "-h", "--version", "-V"],
)
def test_options_that_would_make_something_else_of_the_job_are_refused(pristine_folder, script, option):
    done = script(pristine_folder("least") / "submit_notebook.sh", option, "x.ipynb")
    assert (done.returncode, done.stdout, done.stderr) == (
        64,
        "",
        f"submit_notebook.sh: {option} cannot be used here, where one job runs the notebook once; write the script with "
        "--print, and give it to sbatch yourself.\n",
    )


@pytest.mark.parametrize(
    ("option", "line"),
    [
        (
            "--output=logs/%j.out",
            "{option}: there is no folder {here}/logs, and Slurm would end the job without a word; ",
        ),
        (
            "--out=/nowhere/a b/x",
            "{option}: there is no folder /nowhere/a b, and Slurm would end the job without a word; ",
        ),
        ("-e../none/x", "{option}: there is no folder {here}/../none, and Slurm would end the job without a word; "),
        ("--output=lib/x", ""),
        ("--error=logs/%x/x", ""),
        ("--jobs=3", "--jobs says how many jobs share the rows of a table; "),
    ],
)
def test_options_that_would_be_of_no_use_or_end_the_job_without_a_word_are_refused(make_folder, script, option, line):
    folder = make_folder("least")
    (folder / "x.ipynb").write_text(notebook("1"))
    done = script(folder / "submit_notebook.sh", option, "x.ipynb", cwd=folder)
    line = line or "There is no sbatch here; "
    assert (done.returncode, done.stdout) == (64, "")
    assert done.stderr.startswith("submit_notebook.sh: " + line.format(option=option, here=folder)), done.stderr


def test_options_that_change_where_the_output_goes_are_followed(lab):
    lab.cluster.write("login", "student", "lab/a.ipynb", notebook("print('here')"))
    options = "--output=out-%x-%j-50%%.txt --job-name=mine --error=err-%j.txt --hold --wait-all-nodes=0"
    done = lab.on_login(f"./submit_notebook.sh a.ipynb {options}")
    assert (done.returncode, done.stderr) == (0, "")
    job = done.stdout.split()[3]
    output = f"/home/student/lab/out-mine-{job}-50%.txt"
    assert done.stdout.splitlines()[1] == f"Its output goes to {output}"
    assert lab.on_login(f"scontrol release {job}").returncode == 0
    assert state(lab, job) == "COMPLETED"
    assert lab.cluster.read("login", "student", output).splitlines() == ["here"]
    assert lab.run_lab("logs", job).stdout.splitlines()[-1] == "here"


@pytest.mark.parametrize(
    ("words", "status", "line"),
    [
        ("", 64, "Name the notebook, for example: ./submit_notebook.sh analysis.ipynb"),
        ("nowhere.ipynb", 64, "There is no notebook nowhere.ipynb; give the path of a file that ends in .ipynb"),
        ("settings.yml", 64, "There is no notebook settings.yml; give the path of a file that ends in .ipynb"),
    ],
)
def test_what_is_no_notebook_is_refused(words, status, line, lab):
    done = lab.on_login(f"./submit_notebook.sh {words}")
    assert (done.returncode, done.stdout, done.stderr) == (status, "", f"submit_notebook.sh: {line}\n")
    assert lab.jobs() == ""


def test_that_there_is_no_environment_is_said_before_and_by_the_job(lab):
    lab.cluster.write("login", "student", "lab/a.ipynb", notebook("1", kernelspec=PYTHON))
    lab.on_login("sed -i 's|^environment_path: .*|environment_path: $HOME/none|' settings.yml")
    for option in ("", "--execute"):
        done = lab.on_login(f"./submit_notebook.sh a.ipynb {option}")
        assert (done.returncode, done.stdout, done.stderr) == (
            *(1, ""),
            "submit_notebook.sh: There is no environment at /home/student/none yet. To build it: ./setup_env.sh\n",
        )
        done = lab.on_login(f"./submit_notebook.sh --print a.ipynb {option} >a.sh && sbatch a.sh")
        job = done.stdout.split()[3]
        assert state(lab, job) == "FAILED"
        (line,) = lab.cluster.read("login", "student", f"lab/a-{job}.out").splitlines()
        assert line.endswith("/home/student/none/bin/activate: No such file or directory")


def test_a_job_that_slurm_refuses_is_one_line_and_nothing_is_submitted(lab):
    lab.cluster.write("login", "student", "lab/plain.ipynb", notebook("1"))
    done = lab.on_login("./submit_notebook.sh plain.ipynb --account=def-nobody")
    assert done.returncode == 1
    assert done.stderr == (
        "submit_notebook.sh: Slurm refused the job: Invalid account or account/partition combination specified"
        "; look at --account=def-nobody\n"
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


# --- lab status, logs, stop and sync --------------------------------------------------------------------------------


def rows(done):
    """The table of `lab status`: a list of cells for each row; what stands below it is its last one."""
    assert done.returncode == 0, done.stderr
    lines = [line for line in done.stdout.splitlines() if not line.startswith("Connecting to ")]
    return [re.split("  +", line) for line in "\n".join(lines).replace("\n    ", "  ").splitlines()]


def last_line(text):
    return text.rstrip().splitlines()[-1]


def test_batch_jobs_are_in_lab_status_until_a_while_after_their_end(lab):
    lab.cluster.write("login", "student", "lab/work/fine.ipynb", notebook("open('result 1.csv', 'w').write('42')"))
    lab.cluster.write("login", "student", "lab/fails.ipynb", notebook("print('it be' 'gins')", "1 / 0"))
    lab.cluster.write("login", "student", "lab/long.ipynb", notebook("print('a word'); import time; time.sleep(1000)"))
    fine, fails, runs = submitted(lab, "work/fine.ipynb", "fails.ipynb", "long.ipynb")
    # a name that a session could have
    waits = lab.on_login("./submit_notebook.sh ./long.ipynb --hold --job-name=passerelle-x").stdout.split()[3]
    assert [state(lab, job) for job in (fine, fails)] == ["COMPLETED", "FAILED"]
    lab.on_login(f"until [[ $(squeue -h -j {runs} -o %T) == RUNNING ]]; do sleep 0.2; done")
    heading, *shown = rows(lab.run_lab("status"))
    assert heading[:3] == ["NAME", "JOB", "STATE"]
    shown = {row[1]: row for row in shown}
    assert shown[runs][:3] == ["long.ipynb", runs, "RUNNING"]
    assert shown[waits][:3] == ["long.ipynb", waits, "PENDING"]
    assert shown[waits][3] == "expected start: unknown (JobHeldUser)"
    assert shown[fine][:3] == ["work/fine.ipynb", fine, "COMPLETED"]
    assert shown[fails][:3] == ["fails.ipynb", fails, "FAILED"]
    assert re.fullmatch(r"ended: .*\d\d:\d\d", shown[fine][3])
    assert re.fullmatch(r"exit code 1, ended: .*\d\d:\d\d", shown[fails][3])
    # by its notebook, seen from where the person stands; by its number, also on the login node
    done = lab.cluster.run("laptop", "alice", "bash", "-c", "cd lab/lib && ../lab logs ../fails.ipynb")
    assert "it begins\n" in done.stdout and done.stdout.endswith("ZeroDivisionError: division by zero\n")
    assert lab.run_lab("logs", waits).stderr == (
        f"lab: The batch job {waits} (long.ipynb) has printed nothing yet, or what it printed is no longer there; "
        "./lab status shows its state.\n"
    )
    followed = lab.lab("logs", runs, "--follow", tty=False)
    followed.wait_for("a word")
    for name, line in (
        (runs, f"The batch job {runs} (long.ipynb) has been cancelled."),
        ("long.ipynb", f"The batch job {waits} (long.ipynb) has been cancelled."),
        (fine, f"The batch job {fine} (work/fine.ipynb) had already ended."),
    ):
        done = lab.run_lab("stop", name)
        assert (done.returncode, done.stderr, done.stdout.splitlines()[-1]) == (0, "", line)
    assert state(lab, waits).startswith("CANCELLED")
    assert followed.wait(60) == 0
    assert re.fullmatch(
        rf"lab: The batch job {runs} \(long\.ipynb\) has ended: CANCELLED.*", last_line(followed.output)
    )
    done = lab.run_lab("logs", "work/fine.ipynb", "--follow")
    assert (done.returncode, done.stderr) == (0, "")
    assert last_line(done.stdout) == f"The batch job {fine} (work/fine.ipynb) has ended: COMPLETED"
    assert {row[1]: row[2] for row in rows(lab.run_lab("status"))}[waits] == "CANCELLED"
    for words in ("stop nothing.ipynb", "logs 'a b/*.ipynb'"):
        done = lab.run_lab(*shlex.split(words))
        name = shlex.split(words)[1]
        assert (done.returncode, done.stderr) == (
            1,
            f"lab: There is no batch job of {name} in this folder; ./lab status shows those there are.\n",
        )


def test_a_word_means_what_is_there_where_the_person_stands(lab):
    def typed(where, command):
        return lab.cluster.run("laptop", "alice", "bash", "-c", f"cd {where} && {command}")

    for name in ("notebooks/a.ipynb", "a.ipynb", "notebooks/-x.ipynb", "tab\tx.ipynb", "../a.ipynb", "../b.ipynb"):
        lab.cluster.write("laptop", "alice", f"lab/{name}", "{}")
    typed("lab", "ln -sfn lab ../link; ln -sfn ../notebooks lib/way; ln -sfn /tmp out; cp a.ipynb /tmp/away.ipynb")
    damaged = "submit_notebook.sh: {} is not a Jupyter notebook, or it is damaged; open it in JupyterLab, and save it from there."
    outside = "lab: {} is not in /home/alice/lab; give a path as lab shows it."
    for where, words, line in (
        ("lab/notebooks", "../lab submit a.ipynb", damaged.format("notebooks/a.ipynb")),
        ("link/notebooks", "../lab submit a.ipynb", damaged.format("notebooks/a.ipynb")),
        ("lab/notebooks", "../lab submit ./-x.ipynb", damaged.format("notebooks/-x.ipynb")),
        ("lab/notebooks", "../lab submit ../a.ipynb", damaged.format("a.ipynb")),
        ("lab/lib", "../lab submit way/a.ipynb", damaged.format("notebooks/a.ipynb")),
        ("lab", "./lab submit ~/link/notebooks/a.ipynb", damaged.format("notebooks/a.ipynb")),
        ("lab", "./lab submit $'tab\\tx.ipynb'", damaged.format("tab\tx.ipynb").expandtabs()),
        ("/", "~/lab/lab submit ~/lab/notebooks/a.ipynb", damaged.format("notebooks/a.ipynb")),
        ("/home", "~/link/lab submit alice/link/notebooks/a.ipynb", damaged.format("notebooks/a.ipynb")),
        # nothing of that name is here
        ("/", "~/lab/lab submit notebooks/a.ipynb", damaged.format("notebooks/a.ipynb")),
        ("/home/alice", "lab/lab submit a.ipynb", outside.format("a.ipynb")),
        ("lab", "./lab submit ../b.ipynb", outside.format("../b.ipynb")),
        ("lab", "./lab submit out/away.ipynb", outside.format("out/away.ipynb")),
        ("lab", "./lab submit /etc/a.ipynb", outside.format("/etc/a.ipynb")),
        ("lab/lib", "../lab sync --theirs ../../b.ipynb", outside.format("../../b.ipynb")),
        ("lab/lib", "../lab sync --mine ../../lab/nothing", "lab: There is nothing called nothing to send from here."),
    ):
        done = typed(where, words)
        assert done.returncode in (1, 64), done
        assert line in (done.stdout + done.stderr).splitlines(), (words, done)
    assert lab.jobs() == ""
