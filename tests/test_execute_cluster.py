"""The same as jobs: submit_notebook.sh --execute, --resume and --parameters on the cluster, and what comes home."""

import csv
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
    first, second, *_, last = done.stdout.splitlines()
    job = first.split()[3]
    rows = "--jobs" in words or "--parameters" in words
    assert second.endswith(f"-{job}_*.out" if rows else f"-{job}.out")
    said = (
        "Each row's notebook, log and report, and rows.csv, which says what has become of each, are in "
        if rows
        else "The notebook, as far as it has run, and a report to read are in "
    )
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


STILL = "submit_notebook.sh: The job {0} of {1} still waits or runs; wait for its end, or cancel it: ./lab stop {0}\n"


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
    again, more = submit(lab, "--resume 'mon été.ipynb' --hold")
    assert more != results
    # one at a time goes on with a run, also before there is anything of it
    refused = lab.on_login("./submit_notebook.sh --resume 'mon été.ipynb'")
    said = STILL.format(again, "mon été.ipynb")
    assert (refused.returncode, refused.stdout, refused.stderr) == (64, "", said)
    assert lab.on_login(f"scontrol release {again}").returncode == 0
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


def array_ended(lab, job, tasks):
    """Wait until so many tasks of an array have ended; return their states."""
    ended = lab.on_login(
        f"until s=$(sacct -nX -P -j {job} -o state,exitcode --delimiter=' ') && ! grep -q -E 'PENDING|RUNNING|REQUEUED' <<<\"$s\" && "
        f'[[ $(wc -l <<<"$s") == {tasks} ]]; do sleep 0.5; done; echo "$s"'
    )
    return sorted(re.sub("(COMPLETED|TIMEOUT) 0:0", r"\1", state) for state in ended.stdout.splitlines())


def table(lab, results):
    """The rows of a table on the login node: state, why, folder."""
    text = lab.cluster.read("login", "student", f"{results}/rows.csv")
    return [(row["state"], row["why"], row["folder"]) for row in csv.DictReader(text.splitlines())]


def test_a_table_is_one_job_array_and_its_rows_that_failed_or_never_ran_run_again(lab):
    # Slurm kills the task of the third row, which cannot say it; so the fifth never runs
    greedy = "import os, time\nkept = b'x' * (800 << 20 if a == 9 and not os.path.exists('mended') else 0)\nwhile kept: time.sleep(1)"
    cells = ["a = 0", greedy, "print('a is', 1 // a)"]
    put(lab, "sweep.ipynb", notebook(*cells, tags={0: "parameters"}))
    lab.cluster.write("login", "student", "lab/t.csv", "a\n1\n0\n9\n2\n3\n")
    job, results = submit(lab, "--parameters=t.csv --jobs=2 sweep.ipynb --mem-per-cpu=256M")
    # what is submitted is what the table and the notebook were
    lab.cluster.write("login", "student", "lab/t.csv", "a\n5\n")
    put(lab, "sweep.ipynb", notebook("raise"))
    (killed,) = (state for state in array_ended(lab, job, 2) if state != "FAILED 1:0")
    row, more = status_of(lab, job)
    place = results.removeprefix("/home/student/lab/")
    assert (row[0], more.split(". ")[0]) == (
        "sweep.ipynb",
        f"2 of 5 rows have passed, 2 failed, 1 never ran ({place}/rows.csv)",
    )
    said = "cell 3 of 3 failed: ZeroDivisionError: integer division or modulo by zero"
    assert f"row 2 of 5: {said}\n" in lab.on_login(f"cat sweep-{job}_*.out").stdout
    shown = lab.run_lab("logs", job)
    # of every task, and so of the row that failed, whichever task has printed last
    assert (shown.returncode, f"row 2 of 5: {said}\n" in shown.stdout, "row 4 of 5" in shown.stdout) == (0, True, True)
    rows = table(lab, results)
    assert rows[1:3] + rows[4:] == [
        ("failed", said, "row-0002"),
        ("failed", f"Slurm: {killed}", "row-0003"),
        ("never ran", f"Slurm: {killed}", ""),
    ]
    assert [row[0] for row in rows] == ["passed", "failed", "failed", "passed", "never ran"]
    # their causes have been mended
    put(lab, "sweep.ipynb", notebook(*cells[:2], "print('a is', a)", tags={0: "parameters"}))
    lab.cluster.write("login", "student", "lab/mended", "")
    # of two at the same time one gets it: the other has looked for a job of it before there is one
    at_once = lab.on_login(
        f"mkdir {results}/resuming; ./submit_notebook.sh --resume sweep.ipynb 2>&1; rmdir {results}/resuming; "
        "for n in 1 2; do ./submit_notebook.sh --resume sweep.ipynb --jobs=2 --hold & done 2>&1; wait"
    ).stdout.splitlines()
    claimed = (
        "submit_notebook.sh: Another submission is going on with this run of sweep.ipynb right now. If none is, because it "
        f"was killed: rmdir {results}/resuming"
    )
    (again,) = (line.split()[3] for line in at_once if line.startswith("Submitted"))
    assert at_once[0] == claimed
    assert [line for line in at_once[1:] if line.startswith("submit_")] in (
        [claimed],
        [STILL.format(again, "sweep.ipynb")[:-1]],
    )
    assert (
        f"Its rows are those of the table as it was submitted first ({results}/rows.json). For a table that you have changed "
        "since: --parameters, without --resume"
    ) in at_once
    (more,) = (line.split(" are in ")[1] for line in at_once if " are in " in line)
    # nor one that names the earlier run
    for words in ("", f"={results}"):
        still = lab.on_login(f"./submit_notebook.sh --resume{words} sweep.ipynb")
        assert (still.returncode, still.stdout, still.stderr) == (64, "", STILL.format(again, "sweep.ipynb"))
    assert lab.on_login(f"scontrol release {again}").returncode == 0
    assert array_ended(lab, again, 2) == ["COMPLETED", "COMPLETED"]
    row, words = status_of(lab, again)
    assert (row[2], words) == (
        "COMPLETED",
        f"5 of 5 rows have passed ({more.removeprefix('/home/student/lab/')}/rows.csv). ended: ",
    )
    earlier = f"../{results.rsplit('/', 1)[1]}"
    assert [(row[0], row[2]) for row in table(lab, more)] == [
        ("passed", f"{earlier}/row-0001"),
        ("passed", "row-0002"),
        ("passed", "row-0003"),
        ("passed", f"{earlier}/row-0004"),
        ("passed", "row-0005"),
    ]
    refused = lab.on_login("echo 'b\n1' >t.csv; ./submit_notebook.sh --parameters=t.csv sweep.ipynb")
    assert (refused.returncode, refused.stdout, refused.stderr) == (
        64,
        "",
        "submit_notebook.sh: The cell tagged “parameters” does not give a value to: b. It does to: a.\n",
    )
    # and nothing is left of it
    assert lab.on_login("ls .lab/submitted/*/ | grep -c -x job; ls -d .lab/submitted/* | wc -l").stdout == "2\n2\n"


def test_at_the_time_limit_the_work_goes_on_in_the_same_job_as_often_as_was_said(lab):
    wait = "import os, time\nprint('begun', flush=True)\nwhile not os.path.exists('go'): time.sleep(0.2)"
    cells = ["x = 1", "open('once' + str(x), 'x')", wait, "print(x + 1)"]
    put(lab, "long.ipynb", notebook(*cells, tags={0: "parameters", 1: "once"}))
    lab.cluster.write("login", "student", "lab/x.csv", "x\n2\n")
    job, results = submit(lab, "--execute long.ipynb --requeue=1")
    # of what was submitted long ago, what still runs keeps its notebook, and so does a script that --print has written
    lab.on_login(
        f"cd .lab/submitted && mkdir ended printed && echo 999999 >ended/job && touch printed/rows.json "
        f"&& touch -d '40 days ago' */job printed/rows.json && grep -l -x {job} */job >../runs"
    )
    array, of_rows = submit(lab, "--parameters=x.csv long.ipynb --requeue=1 --keep-state")
    left = lab.on_login(f"cd .lab/submitted && cat $(cat ../runs) && grep -l -x {array} */job && ls -d ended printed")
    assert re.fullmatch(rf"{job}\n\S+-long-\w+/job\nprinted\n", left.stdout)
    begun = {job: f"^running\t3\t.*' '{results}/state", f"{array}_0": f"^running\t3\t.*' '{of_rows}/row-0001/state"}
    for number, place in begun.items():
        # as Slurm does before the time limit (--signal=B:USR1), to the batch script alone
        lab.on_login(f"until grep -q '{place}'; do sleep 0.2; done; scancel --signal=USR1 --batch {number}")
    for number in begun:
        lab.on_login(f"until [[ $(squeue --noheader --jobs={number} --format=%T) == PENDING ]]; do sleep 0.2; done")
    stopped = "cell 3 of 4 was stopped because the time limit is near; what has run is kept"
    queued = "The job is queued again: it goes on as run 2 of at most 2"
    row, more = status_of(lab, job)
    assert (row[2], more.split(". expected")[0]) == ("PENDING", f"{stopped}. {queued}")
    row, more = status_of(lab, array)
    place = f"({of_rows.removeprefix('/home/student/lab/')}/rows.csv)"
    said = f"0 of 1 rows have passed, 1 waiting {place}. {queued}"
    assert (row[2], more.split(". expected")[0]) == ("PENDING", said)
    # Slurm lets two minutes go by
    for number in begun:
        lab.cluster.run("login", "root", "scontrol", "update", f"JobId={number}", "StartTime=now", check=True)
    lab.on_login(f"until grep -q '{begun[job]}'; do sleep 0.2; done")
    row, more = status_of(lab, job)
    assert (row[2], more.split(". ")[0]) == ("RUNNING", "cell 3 of 4, goes on, run 2 of at most 2")
    lab.on_login(f"until grep -q '{begun[f'{array}_0']}'; do sleep 0.2; done")
    row, more = status_of(lab, array)
    said = f"0 of 1 rows have passed, 1 running {place}. goes on, run 2 of at most 2"
    assert (row[2], more[: len(said)]) == ("RUNNING", said)
    assert lab.on_login(f"scancel --signal=USR1 --batch {job}").returncode == 0
    assert state(lab, job) == "FAILED"
    # not before: the signal may take longer than a cell that waits for this
    lab.on_login("touch go")
    goes_on = (
        "Goes on with cell 3. Variables are not kept, so the cells before it run again, except those tagged “once”: 2."
    )
    # Slurm says in between that it has queued the job again
    assert [line for line in log(lab, job, "long") if not line.startswith(("slurmstepd", *"1234"))] == [
        stopped,
        queued,
        "goes on, run 2 of at most 2",
        goes_on,
        stopped,
        "The job has gone on 1 times, as often as --requeue says; --resume goes on from there",
    ]
    assert array_ended(lab, array, 1) == ["COMPLETED"]
    assert [row[0] for row in table(lab, of_rows)] == ["passed"]
    said = lab.cluster.read("login", "student", f"{of_rows}/row-0001/log").splitlines()
    # what has been kept are the variables after the first cell (with the row's values), or after the second, as time has allowed
    assert [re.sub("cell [12]\\.", "cell n.", line) for line in said if "Goes on" in line] == [
        "Goes on with cell 3, with the variables that were kept after cell n."
    ]
    assert [line.split(",")[0] for line in said if line[0].isdigit()] == ["1/4", "2/4", "3/4", "4/4"]
    # one that is cancelled while it waits does not go on
    lab.on_login("rm go once1")
    job, results = submit(lab, "--execute long.ipynb --requeue=1")
    begun = f"grep -q '^running\t3\t' '{results}/state'"
    lab.on_login(f"until {begun}; do sleep 0.2; done; scancel --signal=USR1 --batch {job}")
    lab.on_login(
        f"until [[ $(squeue --noheader --jobs={job} --format=%T) == PENDING ]]; do sleep 0.2; done; scancel {job}"
    )
    assert state(lab, job).startswith("CANCELLED")
    assert status_of(lab, job)[1] == f"{stopped}. ended: "
