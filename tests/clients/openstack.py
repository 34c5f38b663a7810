"""Runs commands of the released OpenStack client, one after the other, in one process.

Each line of standard input is a command as a user would type it behind `openstack`, as a JSON string; each line of
standard output tells how it ended: exit code, standard output and standard error, as a JSON object. A process for each
command would need a second of computing for its start alone. Every command is a run of the client's own `main` and
shares nothing with the one before, as the client keeps no state in its modules.
"""

import io
import json
import shlex
import sys
from contextlib import redirect_stderr, redirect_stdout

from openstackclient import shell


class Terminal(io.StringIO):
    """Where nobody types. Commands take what is no terminal for data: an image to upload, for one."""

    def isatty(self):
        return True


def run(arguments):
    out, err = io.StringIO(), io.StringIO()
    sys.stdin = Terminal()
    with redirect_stdout(out), redirect_stderr(err):
        try:
            code = shell.main(arguments)
        except SystemExit as end:
            code = end.code
    return {"code": code or 0, "out": out.getvalue(), "err": err.getvalue()}


answers, commands = sys.stdout, sys.stdin
for line in commands:
    print(json.dumps(run(shlex.split(json.loads(line)))), file=answers, flush=True)
