"""Ctrl-C and SIGTERM, also where a library swallows the exception."""

import os
import signal
import subprocess
import sys
import weakref

import pytest

from pipeline.interrupts import Interrupts


class Swallower:
    """Dies in a way that lets an interrupt arrive where Python ignores exceptions."""

    def __init__(self):
        weakref.finalize(self, lambda: None)

    def __del__(self):
        os.kill(os.getpid(), signal.SIGINT)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_the_first_signal_raises_and_says_its_exit_code(number):
    before = signal.getsignal(number)
    with pytest.raises(KeyboardInterrupt), Interrupts("go on") as interrupts:
        os.kill(os.getpid(), number)
    assert interrupts.exit_code == 128 + number
    assert signal.getsignal(number) is before


def test_a_swallowed_interrupt_is_raised_at_the_next_step(capfd):
    with Interrupts("go on") as interrupts:
        interrupts.check()
        thing = Swallower()
        del thing  # the exception is raised inside __del__, so Python ignores it
        with pytest.raises(KeyboardInterrupt):
            interrupts.check()
    assert "Traceback" not in capfd.readouterr().err


def test_a_second_signal_ends_the_process_at_once():
    program = (
        "import os, signal\n"
        "from pipeline.interrupts import Interrupts\n"
        "with Interrupts('go on with: pipeline resume RUN'):\n"
        "    for _ in range(2):\n"
        "        try: os.kill(os.getpid(), signal.SIGINT)\n"
        "        except KeyboardInterrupt: pass\n"
        "    print('still here')\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert done.returncode == 130
    assert done.stdout == ""
    assert done.stderr == "go on with: pipeline resume RUN\n"


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_an_interrupt_during_imports_is_one_line(number, code):
    program = "print('up', flush=True); from pipeline.cli import main; main()"  # before that it is Python's own affair
    command = [sys.executable, "-c", program, "--version"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert process.stdout.readline() == "up\n"
    process.send_signal(number)
    _, errors = process.communicate()
    assert process.returncode in (code, -number)  # the second: before any of our code ran
    assert "ImportError" not in errors


def test_sigterm_leaves_a_run_that_goes_on(start, go_on, spawn, wait_for):
    path = start(cycles=2, query__strategy="random", train__epochs=1500, train__tolerance=0.0)
    process = spawn("resume", path)
    wait_for(process, lambda: list(path.glob("cycles/*/train.tmp-*")))
    process.terminate()
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 143
    assert errors.endswith(f"interrupted; go on with: pipeline resume {path}\n")
    assert not (path / "lock.holder").exists()
    assert len(go_on(path).rows) == 2


@pytest.mark.skipif(not hasattr(signal, "pthread_sigmask"), reason="no masks of signals here")
def test_ctrl_c_of_a_terminal_reaches_no_child_however_early():
    program = (
        "import multiprocessing, os, signal, time\n"
        "from pipeline.interrupts import kept_from_children\n"
        "for _ in range(2):\n"  # the first one starts the resource tracker, too
        "    child = multiprocessing.get_context('spawn').Process(target=time.sleep, args=(0.5,))\n"
        "    with kept_from_children():\n"
        "        child.start()\n"
        "    os.kill(child.pid, signal.SIGINT)\n"
        "    child.join()\n"
        "    print(child.exitcode)\n"
        "os.kill(os.getpid(), signal.SIGINT)\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert (done.stdout, done.returncode) == ("0\n0\n", -signal.SIGINT)
    assert done.stderr.count("Traceback") == 1  # its own


def test_a_killed_child_leaves_no_semaphores_to_be_reported(tmp_path):
    program = tmp_path / "program.py"
    program.write_text(
        "import multiprocessing, os, signal, sys\n"
        "from pipeline.interrupts import leave_no_semaphores\n"
        "def child(tidy):\n"
        "    if tidy: leave_no_semaphores()\n"
        "    lock = multiprocessing.RLock()\n"
        "    os.kill(os.getpid(), signal.SIGKILL)\n"
        "if __name__ == '__main__':\n"
        "    process = multiprocessing.get_context('spawn').Process(target=child, args=(sys.argv[1] == 'tidy',))\n"
        "    process.start(), process.join()\n"
    )
    said = {}
    for how in ("tidy", "untidy"):
        command = [sys.executable, str(program), how]
        said[how] = subprocess.run(command, capture_output=True, text=True, check=True).stderr
    assert said["tidy"] == ""
    assert "leaked semaphore" in said["untidy"]
