"""Evidence as files: written whole or not at all, signed with an SSH key, and checked again."""

from __future__ import annotations

import contextlib
import json
import os
import secrets
import subprocess
import tempfile
from typing import Any

from _evidence import checked

# What a signature is for: ssh-keygen signs it along, so that it passes for nothing else (ssh-keygen(1), -Y).
_NAMESPACE, _WHO = "slurm_pam-evidence", "evidence"
_MOST = 64 * 2**20  # bytes of a file that is read
_PATIENCE = 60  # seconds for ssh-keygen


def read(path: str) -> dict[str, Any]:
    """An earlier document. Raises ValueError if it is none, or cannot be read."""
    try:
        with open(path, "rb") as file:
            text = file.read(_MOST + 1)
        if len(text) > _MOST:
            raise ValueError(f"it has more than {_MOST // 2**20} MiB")
        return checked(json.loads(text))
    except (OSError, ValueError, RecursionError) as error:
        raise ValueError(f"{path}: {error}") from error


def write(path: str, text: str) -> None:
    """The file, for its owner alone; another one of this name is replaced. Raises OSError."""
    new = f"{path}.{secrets.token_hex(4)}"
    try:
        with open(new, "x", encoding="utf-8", opener=_private) as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        os.replace(new, path)
    except BaseException:
        with contextlib.suppress(OSError):
            os.unlink(new)
        raise


def _private(path: str, flags: int) -> int:
    return os.open(path, flags | os.O_NOFOLLOW, 0o600)


def sign(path: str, key: str) -> str:
    """Sign a file; the signature beside it. Raises ValueError with what ssh-keygen says."""
    signature = f"{path}.sig"
    with contextlib.suppress(FileNotFoundError):
        os.unlink(signature)
    _ssh_keygen(["-Y", "sign", "-f", key, "-n", _NAMESPACE, path])
    return signature


def verify(path: str, public: str) -> str:
    """What ssh-keygen says of a file whose signature is beside it. Raises ValueError if it is not this key's of this
    file."""
    try:
        with open(public, encoding="utf-8") as file:
            kind, text, *_ = file.readline().split()
    except (OSError, ValueError) as error:
        raise ValueError(f"{public} is not a public key: {error}") from error
    with tempfile.NamedTemporaryFile("w", encoding="utf-8") as signers, open(path, "rb") as file:
        signers.write(f'{_WHO} namespaces="{_NAMESPACE}" {kind} {text}\n')
        signers.flush()
        words = ["-Y", "verify", "-f", signers.name, "-I", _WHO, "-n", _NAMESPACE, "-s", f"{path}.sig"]
        return _ssh_keygen(words, file)


def _ssh_keygen(words: list[str], file: Any = subprocess.DEVNULL) -> str:
    """In a session of its own it has no terminal to ask for a passphrase on."""
    pipes = {"stdin": file, "stdout": subprocess.PIPE, "stderr": subprocess.STDOUT}
    environment = {**os.environ, "SSH_ASKPASS_REQUIRE": "never"}
    try:
        done = subprocess.run(
            ["ssh-keygen", *words], **pipes, env=environment, start_new_session=True, timeout=_PATIENCE, check=False
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise ValueError(f"ssh-keygen: {error}") from error
    told = done.stdout.decode(errors="replace").strip()
    if done.returncode:
        raise ValueError(f"ssh-keygen: {told}")
    return told
