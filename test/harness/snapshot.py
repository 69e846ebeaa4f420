"""Every file below a directory as JSON: its type, mode, owner, group, and its content's hash or its link's target."""

import hashlib
import json
import os
import stat
import sys
from pathlib import Path

KINDS = {stat.S_IFREG: "file", stat.S_IFDIR: "directory", stat.S_IFLNK: "link"}


def digest(content: bytes) -> str:
    """What a snapshot says of a file with this content."""
    return hashlib.sha256(content).hexdigest()


def seen(path: Path) -> tuple:
    status = path.lstat()
    kind, content = stat.S_IFMT(status.st_mode), ""
    if stat.S_ISLNK(kind):
        content = os.readlink(path)
    elif stat.S_ISREG(kind):
        content = digest(path.read_bytes())
    return (KINDS.get(kind, "other"), oct(status.st_mode & 0o7777), status.st_uid, status.st_gid, content)


if __name__ == "__main__":
    print(json.dumps({str(path): seen(path) for path in sorted(Path(sys.argv[1]).rglob("*"))}))
