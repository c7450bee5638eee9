"""The process of one job: runs its script as `python script.py` would, and dies with the server.

    python _job.py FD COMMAND...

FD is the reading end of a pipe that the server holds open and never writes to. However the server
ends, the pipe ends with it, and this process then kills its whole process group. A Python script
runs in this very process, because a second interpreter would cost more than many scripts; any
other command runs as a child. For the same reason only a few small modules are imported here.
"""

import _thread
import os
import signal
import sys

TYPE_CHECKING = False  # as in `typing`, which would have to be imported
if TYPE_CHECKING:
    from types import TracebackType


def die_with_the_server(pipe: int) -> None:
    while os.read(pipe, 1):
        pass
    os.killpg(0, signal.SIGKILL)


def run_script(path: str, arguments: list[str]) -> int:
    try:
        with open(path, "rb") as file:
            source = file.read()
    except OSError as error:
        print(f"cannot run the script: {error}", file=sys.stderr)
        return 2
    sys.argv = [path, *arguments]
    sys.path[0] = os.path.dirname(os.path.abspath(path))
    main = sys.modules["__main__"] = type(sys)("__main__")
    main.__file__ = path
    main.__dict__["__builtins__"] = __builtins__
    sys.excepthook = print_exception
    exec(compile(source, path, "exec"), main.__dict__)
    return 0


def print_exception(
    kind: type[BaseException], error: BaseException, trace: "TracebackType | None"
) -> None:
    """Print a traceback without the frames of this file."""
    while trace and trace.tb_frame.f_code.co_filename == __file__:
        trace = trace.tb_next
    sys.__excepthook__(kind, error.with_traceback(trace), trace)


def main() -> int:
    pipe, *command = sys.argv[1:]
    _thread.start_new_thread(die_with_the_server, (int(pipe),))
    if command[0] == sys.executable and len(command) > 1 and not command[1].startswith("-"):
        return run_script(command[1], command[2:])
    import subprocess

    try:
        code = subprocess.call(command)
    except OSError as error:
        print(f"cannot run {command[0]}: {error}", file=sys.stderr)
        return 127
    return code if code >= 0 else 128 - code


if __name__ == "__main__":
    sys.exit(main())
