"""How often the kernel of the system has killed a process of this job because its memory was full."""

import re
from pathlib import Path


def kills():
    """Return that number, as the job's cgroup counts it; 0 where there is none that says.

    Source: the kernel's documentation, admin-guide/cgroup-v2.rst (memory.events), cgroup-v1/memory.rst (oom_control)
    """
    total = 0
    for line in Path("/proc/self/cgroup").read_text(encoding="ascii").splitlines():
        _, controllers, path = line.split(":", 2)
        if not controllers:
            counters = Path(f"/sys/fs/cgroup{path}/memory.events")
        elif "memory" in controllers.split(","):
            counters = Path(f"/sys/fs/cgroup/memory{path}/memory.oom_control")
        else:
            continue
        try:
            found = re.search(r"(?m)^oom_kill (\d+)$", counters.read_text(encoding="ascii"))
        except OSError:
            continue
        total += int(found[1]) if found else 0
    return total
