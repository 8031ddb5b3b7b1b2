"""The host's key before the first login, compared with the published ones, as lib/laptop/host_key.sh does."""

import os
import subprocess
import tempfile
from pathlib import Path

from both.limits import LIMITS
from both.messages import FOLDER, Trouble, say
from plumbum import local
from plumbum.commands import CommandNotFound

from .openssh import options, ssh_command, ssh_settings
from .paths import STATE, make_state_folder


def compare_host_key(login, facts):
    """Return the options for an ssh that logs in there; a key that is not known yet has been compared before.

    What known_hosts has of the host holds, whatever is published. A published key is kept there, as ssh would do it
    for a "yes"; ssh then has the host prove that it holds that very key. Where none is published, ssh asks.
    Raises Trouble when the host presents another key than those that its cluster publishes (fact host_keys).
    """
    settings, published = ssh_settings(login), facts.get("host_keys")
    host, port = settings["hostname"][0], settings["port"][0]
    alias = settings["hostkeyalias"][0] if settings["hostkeyalias"] else "none"
    name = alias if alias != "none" else host if port == "22" else f"[{host}]:{port}"
    known_hosts = Path(settings["userknownhostsfile"][0]).expanduser()
    try:
        keygen = local["ssh-keygen"]
    except CommandNotFound:
        raise Trouble("no_ssh") from None
    for file in [known_hosts, *map(Path, " ".join(settings["globalknownhostsfile"]).split())]:
        if file.is_file() and keygen["-F", name, "-f", file].run(retcode=None)[0] == 0:
            return []
    if not published:
        say("host_key_unpublished", host=host)
        return []
    if line := presented(login):
        fingerprint = (keygen["-l", "-f", "-"] << line)().split()[1]
        if fingerprint not in published:
            raise Trouble(
                "host_key_differs", host=host, login=login, presented=fingerprint, published=", ".join(published),
                page=facts["host_keys_page"],
            )  # fmt: skip
        keep(line, known_hosts)
        say("host_key_published", host=host, fingerprint=fingerprint, file=known_hosts)
    # without an answer this ssh has none either, and it says why
    return options(StrictHostKeyChecking="yes")


def presented(login):
    """Return the line of known_hosts for the key that the host presents, "" without one; nobody is logged in."""
    make_state_folder()
    with tempfile.TemporaryDirectory(dir=STATE) as folder:
        file = Path(folder, "known_hosts")
        command = ssh_command()[
            "-T",
            options(
                # a path from here: ssh parts such words at spaces
                UserKnownHostsFile=file.relative_to(FOLDER).as_posix(), GlobalKnownHostsFile=os.devnull,
                StrictHostKeyChecking="accept-new", HostKeyAlgorithms="ssh-ed25519,rsa-sha2-512,rsa-sha2-256",
                HashKnownHosts="no", CheckHostIP="no", UpdateHostKeys="no", ControlMaster="no", ControlPath="none",
                PreferredAuthentications="none", BatchMode="yes", ConnectTimeout=LIMITS.SSH_CONNECT,
            ),
            login,
            "true",
        ]  # fmt: skip
        # however much is said before a login
        nothing = dict.fromkeys(("stdin", "stdout", "stderr"), subprocess.DEVNULL)
        process = command.popen(cwd=FOLDER, **nothing)
        try:
            process.wait(LIMITS.LOGIN)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
            return ""
        return file.read_text(encoding="utf-8", errors="replace") if file.exists() else ""


def keep(line, file):
    """Add a line to known_hosts."""
    file.parent.mkdir(mode=0o700, exist_ok=True)
    before = file.read_bytes() if file.exists() else b""
    with file.open("ab") as known:
        known.write((b"\n" if before and not before.endswith(b"\n") else b"") + line.encode())
