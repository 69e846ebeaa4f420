"""Run commands in a machine with a kernel of its own, with their streams and their exit status as here.

In the machine this file is a service; here it is the command that asks it:

    agent.py ADDRESS WORD...

It speaks over the machine's network, since a machine of its own shares nothing else with this one. Each message is a
stream's number and a length, then so many bytes; a message of no bytes ends a stream.
"""

import contextlib
import json
import os
import select
import socket
import socketserver
import struct
import subprocess
import sys
import threading

PORT = 1
STDIN, STDOUT, STDERR, EXIT = range(4)
HEAD = struct.Struct("!BI")
PIECE = 65536


def send(line, lock, stream, data):
    with lock, contextlib.suppress(BrokenPipeError, ConnectionResetError):
        line.sendall(HEAD.pack(stream, len(data)) + data)


def messages(line):
    """What comes in, as (stream, bytes), until the other side hangs up."""
    with line.makefile("rb") as file:
        while len(head := file.read(HEAD.size)) == HEAD.size:
            stream, length = HEAD.unpack(head)
            yield stream, file.read(length)


def pump(descriptor, line, lock, stream, over=None):
    """
    Everything that comes out of a descriptor, as messages.

    Once it is ``over``, until nothing comes for a second: what a command left in the background may hold it open."""
    while True:
        last = over and over.is_set()
        if select.select([descriptor], [], [], 1)[0]:
            data = os.read(descriptor, PIECE)
            if not data:
                break
            send(line, lock, stream, data)
        elif last:
            break
    send(line, lock, stream, b"")


class Command(socketserver.BaseRequestHandler):
    """One command: its words come first, then its input."""

    def handle(self):
        asked = messages(self.request)
        words = json.loads(next(asked)[1])
        lock, pipe = threading.Lock(), subprocess.PIPE
        try:
            command = subprocess.Popen(words, stdin=pipe, stdout=pipe, stderr=pipe, cwd="/", start_new_session=True)
        except OSError as error:
            send(self.request, lock, STDERR, f"{words[0]}: {error.strerror}\n".encode())
            send(self.request, lock, EXIT, b"127")
            return
        over = threading.Event()
        outputs = [
            threading.Thread(target=pump, args=(file.fileno(), self.request, lock, stream, over))
            for file, stream in ((command.stdout, STDOUT), (command.stderr, STDERR))
        ]
        for thread in (*outputs, threading.Thread(target=self.feed, args=(command, asked), daemon=True)):
            thread.start()
        status = command.wait()
        over.set()
        for thread in outputs:
            thread.join()
        send(self.request, lock, EXIT, str(status).encode())

    @staticmethod
    def feed(command, asked):
        with contextlib.suppress(OSError, ValueError):
            for _, data in asked:
                if not data:
                    break
                command.stdin.write(data)
                command.stdin.flush()
            command.stdin.close()


class Server(socketserver.ThreadingTCPServer):
    allow_reuse_address = True
    daemon_threads = True


def ask(address, words):
    """Run a command there; its exit status."""
    line = socket.create_connection((address, PORT), 60)
    line.settimeout(None)
    lock = threading.Lock()
    send(line, lock, STDIN, json.dumps(words).encode())
    threading.Thread(target=pump, args=(0, line, lock, STDIN), daemon=True).start()
    for stream, data in messages(line):
        if stream == EXIT:
            status = int(data)
            return status if status >= 0 else 128 - status
        if data:
            os.write(stream, data)
    sys.stderr.write("the machine hung up\n")
    return 255


if __name__ == "__main__":
    if len(sys.argv) == 1:
        Server(("0.0.0.0", PORT), Command).serve_forever()
    os._exit(ask(sys.argv[1], sys.argv[2:]))
