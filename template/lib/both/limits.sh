# shellcheck shell=bash
# Every time limit, in seconds, with its reason: bash sources this file, Python reads it (lib/both/limits.py).

# --- ssh on the laptop ---
# what ssh's own master process may take to answer: it needs no network for it
SSH_ANSWER=4
# ConnectTimeout of ssh: a far host answers within a second or two
SSH_CONNECT=15
# how long the connection stays open after the last lab has ended: the next one needs no second factor then
CONNECTION_PERSISTS=600
# what a person may take to log in; sshd's own limit is 120 as a rule (sshd_config, LoginGraceTime)
LOGIN=180
# what the name server may take
LOOK_UP=10

# --- the template's repository ---
# whether there is a newer version: asked in the background; lab check and update wait for what is still missing of it
TEMPLATE_ANSWER=30
# its history, for what is new in an update: a small repository, once
TEMPLATE_NEWS=60

# --- the channel to the login node ---
# between two questions for a sign of life
PING=5
# without an answer to that, something is wrong
SILENCE=10
# from the connection to the first answer: the startup files of a busy login node take their time
GREETING=20
# and that long where its sshd is there at once: conda, modules and network disks in a startup file take their time
LOGIN_SHELL=120
# how long a silent connection may take to recover once the network is back; TCP tries again ever more seldom
RECOVERY=120
# a line that says what is awaited comes only after this
WAITING_IS_SHOWN=2
# where there is no terminal, a line that says how much is done comes as seldom as that
PROGRESS_LINE=10
# without a byte that arrives, copying is given up; a slow line still moves some
RSYNC_SILENCE=60
# what a step of `lab check` may take on the login node, and a little more on the laptop for its answer to arrive
CHECK_STEP=60
CHECK_ANSWER=75
# two sessions of one name that are submitted at once: the second waits for the first, which may build an environment
SUBMISSION=1800

# --- the job ---
# Slurm is asked this long after the submission, then after twice that, and so on up to the longest pause
FIRST_QUERY=5
LONGEST_PAUSE=60
# a query of Slurm's; its controller is restarted within a minute, and its commands wait for it 10 s and more (MessageTimeout)
SLURM_ANSWER=60
# what Slurm may take to say whether it would take a job, before an environment is built for that
SLURM_TRIAL=30
# who has waited longer for a session does something else by now, and the desktop says that it is ready
LONG_WAIT=300
# the session's own record is looked at ten times a second for this long after something has changed
EAGER=60

# --- the server ---
# a small answer of the server
SERVER_ANSWER=5
# a server that takes the question and does not answer is given up then: the node may be slow
SERVER_SLOW=60
# what a server may take to answer at first: the environment may come from a busy network disk
SERVER_START=600
# what one of a person's files of settings for Jupyter may take: it is a program, which may wait for something
JUPYTER_FILE=60
# what one that has never answered may take to end
SERVER_STOP=20
# Slurm is asked for the state of a job whose page answers, too: seldom
JOB_LOOK=600
# between two looks at whether the page still answers
PAGE_LOOK=10
# between two looks at whether anything is done in the session, or runs
IDLE_LOOK=10
# it warns that long before it ends because it is idle, or a sixth of idle_minutes before, if that is less
IDLE_WARNING=600
# the session says so, and makes checkpoints, that long before its time limit
TIME_LIMIT_WARNING=300

# a notebook that runs as a batch job is stopped and kept that long before its time limit; Slurm may say so a minute
# earlier (sbatch(1), --signal)
BATCH_WARNING=90
# keeping a notebook's variables is given up then (--keep-state): cells that have taken minutes are run again as soon, and
# the job's own time goes by
KEEP_VARIABLES=300

# --- not times ---
# so many ports of the laptop are tried, from the wanted one on
LOCAL_PORTS=50
# more than that in answer to one request is none: a folder of a million files takes less
ANSWER_MEGABYTES=200
# letters of a session's name: its log is a file of that name and the job's number, and no file's name is longer than 255
SESSION_NAME=200
# minutes left of a session at which lab warns; fewer than the last are too few to begin anything
LONG_WARNING_MINUTES=15
SHORT_WARNING_MINUTES=5
# days that a session's log is kept, and that lab knows of a batch job
LOG_DAYS=30
# days that a build which was replaced is kept, where the longest job of the cluster is not known
BUILD_DAYS=30
# so many of a folder's newest batch jobs are looked at; of those that have ended in so many days, so many are shown
JOBS_LOOKED_AT=200
ENDED_DAYS=7
ENDED_SHOWN=10
# so many jobs can an array have: Slurm's own limit on their highest number is 1000, unless a cluster has another one
# (slurm.conf(5), MaxArraySize)
ARRAY_JOBS=1000
# variables of a notebook that are kept (--keep-state) are no larger than this: a fifth of the 50 GB that a home has
# (docs.alliancecan.ca/wiki/Storage_and_file_management)
VARIABLES_MEGABYTES=10000
# JupyterLab 4.6 with one Python kernel has so many files and folders (counted)
ENVIRONMENT_FILES=17700
# days that what `lab sync` has replaced, or taken out of the way, is kept
REPLACED_DAYS=30
