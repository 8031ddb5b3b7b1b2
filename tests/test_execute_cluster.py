"""The same as jobs: submit_notebook.sh --execute, --resume and --parameters on the cluster, and what comes home."""

import itertools
import json
import re

import nbformat
from test_execute import notebook
from test_submit_notebook import state


def put(lab, name, made):
    """Put a notebook into the folder on the login node."""
    lab.cluster.write("login", "student", f"lab/{name}", nbformat.writes(made))


def submit(lab, words):
    """Submit a notebook by hand; return its job and the folder of its results."""
    done = lab.on_login(f"./submit_notebook.sh {words}")
    assert (done.returncode, done.stderr) == (0, "")
    first, *_, last = done.stdout.splitlines()
    job = first.split()[3]
    said = "The notebook, as far as it has run, and a report to read are in "
    assert last.startswith(f"{said}/home/student/lab/") and last.endswith(f"-{job}")
    return job, last.removeprefix(said)


def status_of(lab, job):
    """The row of a job in `lab status`, and what stands below it, without the time."""
    done = lab.run_lab("status")
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    number = next(number for number, line in enumerate(lines) if f"  {job}  " in line)
    below = itertools.takewhile(lambda line: line.startswith("    "), lines[number + 1 :])
    return re.split("  +", lines[number]), re.sub(r"ended: .*", "ended: ", " ".join(map(str.strip, below)))


def log(lab, job, name):
    """The lines of a job's log that are the runner's."""
    return lab.cluster.read("login", "student", f"lab/{name}-{job}.out").splitlines()


def test_what_has_run_is_kept_goes_on_after_the_limit_and_comes_home_by_its_name(lab):
    cells = ["x = 1", "open('once', 'a').write('once ')", "import time\nprint('begun', flush=True)\ntime.sleep(1000)"]
    put(lab, "mon été.ipynb", notebook(*cells, "print(x + 1)", tags={1: "once"}))
    job, results = submit(lab, "--execute 'mon été.ipynb' --time=0:10:00")
    lab.on_login(f"until grep -q '^running\t3\t' '{results}/state'; do sleep 0.2; done")
    # as Slurm does before the time limit (--signal=B:USR1), to the batch script alone
    assert lab.on_login(f"scancel --signal=USR1 --batch {job}").returncode == 0
    assert state(lab, job) == "FAILED"
    last = "cell 3 of 4 was stopped because the time limit is near; what has run is kept"
    assert log(lab, job, "mon été")[-1] == last
    row, more = status_of(lab, job)
    assert (row[0], row[2], more) == ("mon été.ipynb", "FAILED", f"{last}. exit code 1, ended: ")
    # its cause has been mended
    put(lab, "mon été.ipynb", notebook(*cells[:2], "print('mended')", "print(x + 1)", tags={1: "once"}))
    again, more = submit(lab, "--resume 'mon été.ipynb'")
    assert more != results
    assert state(lab, again) == "COMPLETED", log(lab, again, "mon été")
    said = log(lab, again, "mon été")
    assert said[0] == (
        "Goes on with cell 3. Variables are not kept, so the cells before it run again, except those tagged “once”: 2."
    )
    assert [line.split(",")[0] for line in said[1:-1]] == ["1/4", "3/4", "4/4"]
    assert lab.cluster.read("login", "student", "lab/once") == "once "
    done = lab.on_login("./submit_notebook.sh --resume 'mon été.ipynb'")
    assert (done.returncode, done.stderr) == (
        64,
        "submit_notebook.sh: All 4 cells have run already; without --resume, they run again.\n",
    )
    # both runs are brought home, with their reports
    brought = lab.run_lab("sync")
    assert brought.returncode == 0, brought.stderr
    for folder, shown in ((results, "begun\n"), (more, "mended\n")):
        place = folder.removeprefix("/home/student/")
        executed = json.loads(lab.cluster.read("laptop", "alice", f"{place}/mon été.ipynb"))
        assert "".join(executed["cells"][2]["outputs"][0]["text"]) == shown
        assert shown in lab.cluster.read("laptop", "alice", f"{place}/mon été.html")


def test_a_table_is_one_job_array_whose_rows_are_shared_out(lab):
    put(lab, "sweep.ipynb", notebook("a = 0", "print('a is', 1 // a)", tags={0: "parameters"}))
    lab.cluster.write("login", "student", "lab/t.csv", "a\n1\n0\n-1\n")
    job, results = submit(lab, "--parameters=t.csv --jobs=2 sweep.ipynb")
    # what is submitted is what the table was
    lab.cluster.write("login", "student", "lab/t.csv", "a\n5\n")
    ended = lab.on_login(
        f"until s=$(sacct -nX -j {job} -o state%20) && ! grep -q -E 'PENDING|RUNNING' <<<\"$s\" && "
        '[[ $(wc -w <<<"$s") == 2 ]]; do sleep 0.5; done; echo $s'
    )
    assert sorted(ended.stdout.split()) == ["COMPLETED", "FAILED"]
    states = lab.on_login(f"cd {results} && grep . */state").stdout
    assert [line.split("\t")[0] for line in sorted(states.splitlines())] == [
        "row-0001/state:passed",
        "row-0002/state:failed",
        "row-0003/state:passed",
    ]
    said = lab.on_login(f"cat sweep-{job}_*.out").stdout
    assert "row 2 of 3: cell 3 of 3 failed: ZeroDivisionError: integer division or modulo by zero\n" in said
    row, more = status_of(lab, job)
    assert (row[0], row[2], more) == (
        *("sweep.ipynb", "FAILED"),
        "2 of 3 rows have run, 1 failed, 0 running. exit code 1, ended: ",
    )
    refused = lab.on_login("echo 'b\n1' >t.csv; ./submit_notebook.sh --parameters=t.csv sweep.ipynb")
    assert (refused.returncode, refused.stdout, refused.stderr) == (
        64,
        "",
        "submit_notebook.sh: The cell tagged “parameters” does not give a value to: b. It does to: a.\n",
    )
