"""Many files through one channel of the connection, as an archive that tar reads and writes on the login node."""

import contextlib
import hashlib
import os
import shlex
import tarfile
import threading

from .files import file_here
from .messages import FOLDER


class Archive:
    """One portion of files on its way; passed is how many bytes of them have passed.

    channel: the process of a bash on the login node that reads its script from a pipe
    """

    def __init__(self, channel):
        self.channel, self.passed = channel, 0

    def _begin(self, function, folder):
        """Call a function of lib/login_node/attend.sh; what is written next is for the command that it starts."""
        # bash reads a script from a pipe byte by byte, so no further than the end of this line
        script = (FOLDER / "lib/login_node/attend.sh").read_bytes()
        self.channel.stdin.write(script + f"\n{function} {shlex.quote(folder)}\n".encode())

    # --- to the login node --------------------------------------------------------------------------------------------

    def send(self, stage, paths, files):
        """Send files into a folder of the login node.

        Return whether they were received, the sums of those that were sent as they were compared, and which of the
        others could not be read.
        """
        sums, unread = {}, set()
        try:
            self._begin("receive", stage)
            # GNU tar's own format holds any name as it is
            how = {"format": tarfile.GNU_FORMAT, "encoding": "utf-8", "copybufsize": 1 << 18}
            with tarfile.open(fileobj=self.channel.stdin, mode="w|", **how) as archive:
                for path in paths:
                    self._add(archive, path, files[path], sums, unread)
            self.channel.stdin.close()
        except OSError:
            # it has ended on the other side
            return False, sums, unread
        return self.channel.stdout.read().endswith(b"passerelle\treceived\t0\n"), sums, unread

    def _add(self, archive, path, file, sums, unread):
        """Add one file, and its sum to the sums if it stays the same meanwhile."""
        item = tarfile.TarInfo(f"./{path}")
        item.mtime, item.mode, item.size = file.time // 10**9, file.mode, file.size
        if file.kind == "l":
            item.type, item.linkname, item.size = tarfile.SYMTYPE, os.readlink(FOLDER / path), 0
            archive.addfile(item)
            sums[path] = None
            return
        try:
            source = _Source(open(FOLDER / path, "rb"), self)  # noqa: SIM115 - closed below
        except OSError:
            unread.add(path)
            return
        with source.file:
            archive.addfile(item, source)
        with contextlib.suppress(OSError):
            if not source.short and file_here(path).state == file.state:
                sums[path] = source.sum.hexdigest()

    # --- from the login node ------------------------------------------------------------------------------------------

    def bring(self, folder, paths, into):
        """Bring files of a folder of the login node; answers, for each that came, where it is now and its sum.

        into: the folder of this computer to write them to. Raises OSError where they cannot be written.
        """
        arrived, wanted = {}, set(paths)
        # in a thread of its own: the archive begins before the last path is read
        threading.Thread(target=self._ask, args=[folder, paths], daemon=True).start()
        # before that it is what startup files print
        for line in self.channel.stdout:
            if line.endswith(b"passerelle\tdata\n"):
                break
        try:
            with tarfile.open(fileobj=self.channel.stdout, mode="r|", encoding="utf-8") as archive:
                for item in archive:
                    path = item.name.removeprefix("./")
                    if item.isreg() and path in wanted:
                        target = os.path.join(into, str(len(arrived)))
                        arrived[path] = target, self._extract(archive.extractfile(item), target, item.mode)
        except (tarfile.TarError, EOFError):
            # it was cut off: what has come has come
            pass
        return arrived

    def _ask(self, folder, paths):
        """Say which files are wanted."""
        with contextlib.suppress(OSError):
            self._begin("give", folder)
            self.channel.stdin.write(b"".join(f"./{path}\0".encode() for path in paths))
            self.channel.stdin.close()

    def _extract(self, source, target, mode):
        """Write one file; return its sum."""
        source = _Source(source, self)
        flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | getattr(os, "O_BINARY", 0)
        with os.fdopen(os.open(target, flags, mode & 0o777 | 0o600), "wb") as file:
            while piece := source.read_some(1 << 18):
                file.write(piece)
        return source.sum.hexdigest()


class _Source:
    """A file that is read once, from its beginning to its end; its bytes are counted and summed up."""

    def __init__(self, file, archive):
        self.file, self.archive = file, archive
        self.sum, self.short = hashlib.sha256(), False

    def read_some(self, size):
        """Return the next bytes, none at the end."""
        piece = self.file.read(size)
        self.sum.update(piece)
        self.archive.passed += len(piece)
        return piece

    def read(self, size):
        """Return so many bytes: those that the archive has announced, also of a file that has become shorter."""
        try:
            piece = self.read_some(size)
        except OSError:
            piece = b""
        self.short = self.short or len(piece) < size
        return piece.ljust(size, b"\0")
