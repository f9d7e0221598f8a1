"""Types commands into a shell in a terminal and records its output as asciicast v2. Uses only the standard library.

Pauses in the output of a command are shortened to MAX_PAUSE seconds. The times that commands print are the real ones.
"""

import codecs
import fcntl
import json
import os
import pty
import select
import struct
import sys
import termios
import time

WIDTH, HEIGHT = 88, 24
KEY_DELAY = 0.045  # seconds between keys
MAX_PAUSE = 0.1
READING_TIME = 2.0  # seconds after the output of a command
# The prompt starts with an escape sequence that terminals do not show.
PROMPT_MARK = b"\x1b]133;A\x07"
PROMPT = r"\[\e]133;A\a\e[1;32m\]$\[\e[0m\] "


def main(session, cast):
    with open(session, encoding="utf-8") as file:
        commands = [line.rstrip("\n") for line in file if line.strip() and not line.startswith("#")]
    terminal = Terminal()
    terminal.until_prompt()
    terminal.events.clear()
    terminal.now = 0.0
    terminal.show(b"\x1b[H\x1b[2J" + b"\x1b[1;32m$\x1b[0m ")
    for command in commands:
        terminal.now += 0.6
        for key in command:
            os.write(terminal.master, key.encode())
            terminal.read(1.0)
            terminal.now += KEY_DELAY
        terminal.now += 0.3
        os.write(terminal.master, b"\n")
        terminal.until_prompt()
        terminal.now += READING_TIME
    header = {"version": 2, "width": WIDTH, "height": HEIGHT, "title": "deployctl"}
    with open(cast, "w", encoding="utf-8") as file:
        for line in [header, *terminal.events, [round(terminal.now, 3), "o", ""]]:
            file.write(json.dumps(line, ensure_ascii=False) + "\n")


class Terminal:
    """A shell in a terminal, and its output with the times of the recording."""

    def __init__(self):
        child, self.master = pty.fork()
        if child == 0:
            os.environ.update(PS1=PROMPT, TERM="xterm-256color", LANG="C.UTF-8")
            os.environ.pop("NO_COLOR", None)
            os.execvp("bash", ["bash", "--noprofile", "--norc", "-i"])
        fcntl.ioctl(self.master, termios.TIOCSWINSZ, struct.pack("HHHH", HEIGHT, WIDTH, 0, 0))
        self.now = 0.0
        self.events = []
        self.decoder = codecs.getincrementaldecoder("utf-8")("replace")

    def show(self, data):
        text = self.decoder.decode(data)
        if text:
            self.events.append([round(self.now, 3), "o", text])

    def read(self, timeout):
        """Waits for output and records it."""
        if not select.select([self.master], [], [], timeout)[0]:
            sys.exit("the command prints nothing any more")
        data = os.read(self.master, 65536)
        self.show(data)
        return data

    def until_prompt(self):
        seen = b""
        while PROMPT_MARK not in seen:
            start = time.monotonic()
            seen = seen[-64:] + self.read(1800)
            self.now += min(time.monotonic() - start, MAX_PAUSE)


if __name__ == "__main__":
    main(*sys.argv[1:])
