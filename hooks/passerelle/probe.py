"""What a cluster says of itself: asked by probe.sh, taken apart here, and held against the catalogue's facts.

It is data: what does not have the shape that it should have is left out, and nothing is shown but what has.
"""

import re
from datetime import datetime
from functools import cache
from typing import NamedTuple

import yaml

from .texts import part

MODULES = ("python", "r", "julia", "ipython-kernel", "ir-kernel", "ijulia-kernel")
SLICE = re.compile(r"_(?:[0-9]+g?\.)?([0-9]+)(?:gb)?")
"""The end of the name of a GPU's slice: h100_1g.10gb, h100_1.10, h100_10gb."""
SIZE = r"([0-9]+(?:\.[0-9]+)?) ?([kMGTP]?)i?B?"
QUOTA = re.compile(rf"((?:/[a-z]+|[A-Z][a-z]+) \([A-Za-z0-9 _-]{{1,60}}\))\s+{SIZE}/{SIZE}\s+{SIZE}/{SIZE}\s*")
NEARLY_FULL = 0.9


class Quota(NamedTuple):
    """A disk: what diskusage_report calls it, and how much of its space and of its files is used (1: all)."""

    place: str
    space: float
    files: float


class Live(NamedTuple):
    """What a cluster has said; what it has said nothing of is empty.

    accounts: {name without _cpu and _gpu: those two endings that it has}
    gpus: {model as Slurm names it: the most of them in a node}
    cores, memory: of the largest node, in MB; with a GPU model: {model: number}
    hours: the longest time limit of a partition
    modules: {name: [versions, the newest first]}
    wheelhouse: whether pip finds packages in a folder there
    quotas: [Quota, ...]
    """

    accounts: dict
    gpus: dict
    cores: int
    memory: int
    gpu_cores: dict
    gpu_memory: dict
    hours: int
    modules: dict
    wheelhouse: bool
    quotas: list

    @property
    def missing(self):
        """Return the keys of texts/ for what the cluster has said nothing of."""
        said = {"accounts": self.accounts, "nodes": self.cores, "modules": self.modules, "quotas": self.quotas}
        return [f"source_{name}" for name, found in said.items() if not found]


@cache
def rules():
    """Return template/lib/both/rules.yml."""
    return yaml.safe_load((part("template") / "lib/both/rules.yml").read_text(encoding="utf-8"))


def fits(name, value):
    """Return whether settings.yml takes that value for a name."""
    known = rules()
    return bool(re.fullmatch(known[name], value)) and not re.fullmatch(known["yaml_word"], value)


def parse(lines):
    """Return the Live of probe.sh's lines."""
    said = {}
    for line in lines:
        source, _, words = line.partition("\t")
        said.setdefault(source, []).append(words)
    accounts = accounts_of_sacctmgr(said.get("sacctmgr", []))
    accounts = accounts or accounts_of_sshare(said.get("sshare", [])) or accounts_of_filter(said.get("filter", []))
    nodes = nodes_of(said.get("sinfo", []))
    wheelhouse = any(re.match(r"( *find-links *=)? *(file://)?/", line) for line in said.get("pip", []))
    modules, quotas = modules_of(said.get("module", [])), quotas_of(said.get("quota", []))
    return Live(folded(accounts), *nodes, modules, wheelhouse, quotas)


# --- accounts ---------------------------------------------------------------------------------------------------------


def accounts_of_sacctmgr(lines):
    """Return the accounts of `sacctmgr -nP show assoc format=Account`."""
    return [line.strip() for line in lines if fits("account", line.strip())]


def accounts_of_sshare(lines):
    """Return the accounts of `sshare -U`, with -P or in columns; the first line may be headings."""
    rows = [re.split(r"\s*\|\s*|\s+", line.strip()) for line in lines]
    return [row[0] for row in rows if len(row) > 3 and row[2].isdigit() and fits("account", row[0])]


def accounts_of_filter(lines):
    """Return the accounts that a submit filter names to whoever has named none."""
    found, listing = [], False
    for line in lines:
        words = line.removeprefix("sbatch: error: ").removeprefix("sbatch: ").strip()
        if words.startswith(("Please specify one of the following", "Use the parameter")):
            listing = words.startswith("Please")
        elif listing or "accounts:" in words:
            names = words.rpartition(":")[2].replace(",", " ").split()
            found += [name for name in names if "-" in name and fits("account", name)]
    return found


def folded(accounts):
    """Return {account: endings}: Slurm's own names end in _cpu and _gpu where the plain one is what people give."""
    found = {}
    for account in accounts:
        name, ending = re.fullmatch(r"(.+?)(?:_(cpu|gpu))?", account).groups()
        found.setdefault(name, set()).update([ending] if ending else [])
    return found


# --- nodes ------------------------------------------------------------------------------------------------------------


def nodes_of(lines):
    """Return gpus, cores, memory, gpu_cores, gpu_memory and hours of Live, from `sinfo --format='%c|%m|%l|%G'`."""
    gpus, gpu_cores, gpu_memory, cores, memory, hours = {}, {}, {}, [0], [0], [0]
    for line in lines:
        row = line.split("|")
        # "32+" and "16-32" are many nodes in one line
        sizes = [re.fullmatch(r"(?:[0-9]{1,9}-)?([0-9]{1,9})\+?", size.strip()) for size in row[:2]]
        if len(row) != 4 or None in sizes:
            continue
        sizes = [int(size[1]) for size in sizes]
        cores.append(sizes[0])
        memory.append(sizes[1])
        hours.append(hours_of(row[2].strip()))
        # not parted at commas: (S:1,3,7) has some, too
        for model, number in re.findall(r"gpu:([^:,()]+):([0-9]{1,3})(?![0-9])", row[3]):
            if fits("gpu_model", model):
                gpus[model] = max(gpus.get(model, 0), int(number))
                gpu_cores[model] = max(gpu_cores.get(model, 0), sizes[0])
                gpu_memory[model] = max(gpu_memory.get(model, 0), sizes[1])
    return gpus, max(cores), max(memory), gpu_cores, gpu_memory, max(hours)


def hours_of(limit):
    """Return the whole hours of one of Slurm's time limits (7-00:00:00, 8:00:00, 30:00), 0 for none."""
    found = re.fullmatch(r"(?:([0-9]{1,3})-)?([0-9]{1,3}):[0-9]{2}:[0-9]{2}", limit)
    return int(found[1] or 0) * 24 + int(found[2]) if found else 0


def same(model):
    """Return what all names of one GPU model or slice have in common: h100, h100_10."""
    model = re.sub(r"^nvidia_|_80gb(_hbm3)?", "", model)
    size = SLICE.search(model)
    return f"{model[: size.start()]}_{size[1]}" if size and size.end() == len(model) else model


def is_slice(model):
    """Return whether that is a slice of a GPU."""
    return bool(re.search(r"_[0-9]+\Z", same(model)))


def model_of(entry):
    """Return the model of an entry such as h100:1-4."""
    return entry.rsplit(":", 1)[0]


# --- modules, quotas, estimates ---------------------------------------------------------------------------------------


def modules_of(lines):
    """Return {name: [versions]} of `module -t spider NAME`."""
    found = {}
    for line in lines:
        name, _, version = line.strip().partition("/")
        if name in MODULES and version and fits("python_module", line.strip()):
            found.setdefault(name, set()).add(version)
    return {name: sorted(versions, key=in_numbers, reverse=True) for name, versions in found.items()}


def in_numbers(version):
    """Return a version as what it is sorted by."""
    return [int(number) for number in re.findall("[0-9]+", version)]


def quotas_of(lines):
    """Return the quotas of diskusage_report, in each of its shapes."""
    found = []
    for line in lines:
        if match := QUOTA.fullmatch(line.strip()):
            space, space_limit, files, files_limit = (number(*match.group(at, at + 1)) for at in (2, 4, 6, 8))
            if space_limit and files_limit:
                found.append(Quota(match[1], space / space_limit, files / files_limit))
    return found


def number(digits, unit):
    """Return 280 k as a number."""
    return float(digits) * 1000 ** " kMGTP".index(unit or " ")


def waits_of(lines):
    """Return {number: seconds until Slurm would start it} from the lines of probe.sh's estimate.

    Where Slurm refuses or says nothing, there is none. Times are the login node's: seconds since 1970, or as Slurm
    writes them by itself.
    """
    waits, now = {}, None
    for line in lines:
        source, _, words = line.partition("\t")
        if source == "now":
            now = words.split(" ")
        elif now and (found := re.search(r" to start at ([0-9]{9,11}|[0-9-]{10}T[0-9:]{8}) ", words)):
            start = found[1]
            seconds = (
                int(start) - int(now[0])
                if start.isdigit()
                else (datetime.fromisoformat(start) - datetime.fromisoformat(now[1])).total_seconds()
            )
            waits[int(source.split(" ")[1])] = max(0, int(seconds))
    return waits


def refusal_in(lines):
    """Return why Slurm would refuse the first job that it was asked about, in its words; "" where it would not."""
    said = next((line for line in lines if line.startswith("estimate 0\t")), "")
    found = re.search(r"(?:allocation failure|[Bb]atch job submission failed): (.*)", said)
    return found[1].strip() if found else ""


# --- beside the catalogue ---------------------------------------------------------------------------------------------


def narrowed(facts, live):
    """Return those facts that the questions are to take from the live cluster.

    What the catalogue knows is what the scripts check, so it is only narrowed: to the models that there are now, each
    by the first of its names, and to the largest node. What is unknown in it comes from the cluster.
    """
    now = {same(model) for model in live.gpus}
    found = {}
    if facts["gpu_requests"]:
        first = {same(model_of(entry)): model_of(entry) for entry in reversed(facts["gpu_requests"])}
        # one model may have several ranges
        found["gpu_requests"] = [
            entry
            for entry in facts["gpu_requests"]
            if same(model_of(entry)) in now and model_of(entry) == first[same(model_of(entry))]
        ]
    else:
        found = {name: value for name, value in measured(facts, live).items() if name.startswith("gpu_")}
    for name, size in (("node_cores", live.cores), ("node_memory_mb", live.memory)):
        if size and (facts[name] == "unknown" or size < facts[name]):
            found[name] = size
    return {name: value for name, value in found.items() if value}


def measured(facts, live):
    """Return the facts that the cluster itself knows, in the catalogue's form."""
    found = {}
    if live.cores:
        found |= {"hours_max": live.hours, "node_cores": live.cores, "node_memory_mb": live.memory}
    if live.gpus:
        now = set(map(same, live.gpus))
        found["gpu_requests"] = [entry for entry in facts["gpu_requests"] if same(model_of(entry)) in now]
        known = {same(model_of(entry)) for entry in found["gpu_requests"]}
        for model, most in live.gpus.items():
            if same(model) not in known:
                found["gpu_requests"].append(f"{model}:{1 if is_slice(model) or most == 1 else f'1-{most}'}")
        for name, sizes in (("gpu_node_cores", live.gpu_cores), ("gpu_node_memory_mb", live.gpu_memory)):
            found[name] = by_family(facts[name], sizes)
    kernels = [name for name in MODULES if name.endswith("-kernel") and name in live.modules]
    if live.modules:
        # in the catalogue's order, where it is only that
        before = facts["kernel_modules"]
        found["kernel_modules"] = before if set(before) == set(kernels) else kernels
    return {name: value for name, value in found.items() if value}


def by_family(entries, sizes):
    """Return entries such as h100:48 with live sizes; a slice sits in the node of its model."""
    families = [model_of(entry) for entry in entries]
    for model in sizes:
        if not any(same(model).startswith(same(family)) for family in families):
            families.append(SLICE.sub("", model) if is_slice(model) else model)
    found = []
    for family in families:
        of_it = [size for model, size in sizes.items() if same(model).startswith(same(family))]
        found += [f"{family}:{max(of_it)}"] if of_it else []
    return found
