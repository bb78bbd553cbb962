"""Find out whether the administrator can read the secret that a program holds: an experiment with a verdict.

The program runs twice, natively and in the software enclave, each time with a fresh random secret. All its processes
are searched all the time: memory, arguments, environment, open files, pipes, core files, every file they write. The
native secret must be found (or the search proves nothing), a value planted nowhere must not be, and the enclaved one
is a leak wherever it is found.
"""

import argparse
import json
import os
import signal
import sys
import tempfile
from pathlib import Path

from cloister.app.prove import Runners, prove
from cloister.cli._prove_feed import console_of, feed_of, feeding_options, host_and_port, pattern, shield_of
from cloister.errors import UsageError
from cloister.observe.prove.plan import (
    AfterDelay,
    Comparison,
    Ending,
    Feed,
    FeedSend,
    FinishInput,
    GroundName,
    OnOutput,
    OnPort,
    Plan,
    Readiness,
    StopSignal,
)
from cloister.observe.prove.render import as_json, as_text
from cloister.observe.prove.secret import decode_escapes

__all__ = ["build_parser", "plan_of", "run"]

DAY = 86400.0

EPILOG = r"""
examples:
  cloister prove ./app                                        feed the secret as a line on standard input
  cloister prove --finish '\n' -- ./app                       and let it exit by itself at a newline
  cloister prove --feed env:TOKEN -- python3 server.py        environment variable
  cloister prove --feed arg -- ./job --key '{secret}'         argument
  cloister prove --feed file -- ./job --key-file '{file}'     file, mode 0600, made for the experiment
  cloister prove --everywhere -- ./app                        search disk blocks, packets and system calls too
  cloister prove --tee sev -- ./app                           in an emulated TEE, whose DRAM is searched as well
  cloister prove --send 127.0.0.1:6379 'SET k {secret}\r\n' --expect OK -- redis-server --save ''
  cloister prove --shield tls.toml --send 127.0.0.1:6379 'SET k {secret}\r\n' -- redis-server --save ''
                                                              natively in the clear, enclaved over TLS
  cloister prove --send-tls 127.0.0.1:443 'GET /?{secret}\r\n\r\n' --server-key cert.pem -- nginx
  cloister prove --console --everywhere -- sort               typed at a shielded console (`cloister attach`)
  cloister prove --console --feed tty --prompt 'assword:' --manifest app.toml -- ./app

what is fed:    {secret} in a template or argument becomes the secret: 28 random letters and digits, new in each arm.
                Escapes in templates: \n \r \t \0 \e \xHH \\
readiness:      by default 0.5 seconds after the feed (stdin, env, arg, file), or when the port is open (--send)

exit codes:
   0  protected: every control held, and the secret was found in no sample of the enclaved program
  10  leaked: each place is named
  16  inconclusive: a control did not hold, and which
   2  the command line cannot work
"""


def build_parser(parser: argparse.ArgumentParser) -> None:
    """Options of `cloister prove`."""
    parser.epilog = EPILOG
    parser.usage = "cloister prove [options] [--] PROGRAM [ARGS ...]"
    feeding_options(parser.add_argument_group("feeding the secret"))
    course_options(parser.add_argument_group("course of each arm"))
    ground_options(parser.add_argument_group("where else to look (files that were written always are)"))
    judging_options(parser.add_argument_group("judging and printing"))
    parser.add_argument(
        "--tee", metavar="NAME", help="run the enclaved arm in this emulated TEE (`cloister run --help`)"
    )
    parser.add_argument(
        "--shield", metavar="FILE", type=Path, help="the enclaved arm has these shields (`cloister run --help`)"
    )
    parser.add_argument("program", metavar="PROGRAM", help="the program to examine")
    parser.add_argument("args", nargs=argparse.REMAINDER, metavar="ARGS", help="its arguments")


def course_options(group: argparse._ArgumentGroup) -> None:
    """When the program is ready, how long it is sampled, how it ends."""
    ready = group.add_mutually_exclusive_group()
    ready.add_argument("--ready-pattern", metavar="REGEX", help="ready when its output matches")
    ready.add_argument("--ready-port", metavar="HOST:PORT", help="ready when this port is open")
    ready.add_argument("--ready-delay", type=seconds, metavar="SECONDS", help="ready this long after the start or feed")
    group.add_argument("--ready-timeout", type=seconds, default=30.0, metavar="SECONDS", help="give up after this (30)")
    group.add_argument("--hold", type=seconds, default=2.0, metavar="SECONDS", help="sample this long once ready (2)")
    end = group.add_mutually_exclusive_group()
    end.add_argument("--stop", metavar="SIGNAL", default="TERM", help="end the program with this signal (TERM)")
    end.add_argument("--finish", metavar="TEXT", help="end it by writing TEXT to its standard input and closing it")
    group.add_argument(
        "--grace", type=seconds, default=10.0, metavar="SECONDS", help="then wait this long, then KILL (10)"
    )


def ground_options(group: argparse._ArgumentGroup) -> None:
    """The grounds that are searched if asked."""
    group.add_argument("--files", action="store_true", help="also read the disk beneath each file that was written")
    group.add_argument("--packets", action="store_true", help="capture what goes over every network interface")
    group.add_argument(
        "--pcap", metavar="PREFIX", type=Path, help="keep it, in PREFIX-native.pcap and PREFIX-enclaved.pcap"
    )
    group.add_argument("--traces", action="store_true", help="trace the system calls of every process that is started")
    group.add_argument("--everywhere", action="store_true", help="all three")


def judging_options(group: argparse._ArgumentGroup) -> None:
    """What counts, and what is printed."""
    group.add_argument(
        "--compare",
        choices=[comparison.value for comparison in Comparison],
        default=Comparison.SHAPE.value,
        help="how the outputs of both arms are compared: words without digits (shape), byte for byte, not at all",
    )
    group.add_argument(
        "--unsafe-ignore-output",
        action="store_true",
        help="do not count the secret in the program's own output as a leak",
    )
    group.add_argument("--json", action="store_true", help="print the whole result as JSON on standard output")


def run(args: argparse.Namespace) -> int:
    """Run the experiment, print its result, return the verdict's exit code."""
    signal.signal(signal.SIGTERM, interrupted)
    with tempfile.TemporaryDirectory(prefix="cloister-feed-") as directory:
        Path(directory).chmod(0o711)
        experiment = prove(
            plan_of(args, Path(directory)),
            show_progress if sys.stderr.isatty() else no_progress,
            runners=runners(args, Path(directory)),
        )
    if sys.stderr.isatty():
        sys.stderr.write("\r\x1b[K")
    sys.stderr.write(as_text(experiment))
    if args.json:
        json.dump(as_json(experiment), sys.stdout, indent=2)
        sys.stdout.write("\n")
    return experiment.verdict.outcome.exit_code


def runners(args: argparse.Namespace, directory: Path) -> Runners:
    """With --tee, an emulated machine runs the program; and one without a TEE does, if it cannot run here."""
    if args.tee is None:
        return Runners()
    from cloister.app.emulated import emulator, runs_here  # noqa: PLC0415 - nothing of it is needed without --tee

    enclaved = emulator(args.tee, directory / "dram")
    if runs_here(args.program):
        return Runners(enclaved=enclaved)
    return Runners(native=emulator("native", directory / "native-dram"), enclaved=enclaved)


def plan_of(args: argparse.Namespace, directory: Path) -> Plan:
    """The plan that the options describe; `directory` takes the feed file if no path is given. UsageError."""
    feed = feed_of(args, directory)
    return Plan(
        words=(args.program, *args.args),
        feed=feed,
        readiness=readiness_of(args, feed),
        ending=ending_of(args),
        cwd=Path.cwd(),
        environment=dict(os.environ),
        hold=args.hold,
        ready_timeout=args.ready_timeout,
        grace=args.grace,
        comparison=Comparison(args.compare),
        unsafe_ignore_output=args.unsafe_ignore_output,
        grounds=grounds_of(args),
        pcap=args.pcap,
        shield=shield_of(args),
        console=console_of(args),
        prompt=None if args.prompt is None else pattern(args.prompt),
    )


def grounds_of(args: argparse.Namespace) -> frozenset[GroundName]:
    """What --files, --packets, --traces and --everywhere ask for."""
    asked = {
        GroundName.BLOCKS: args.files,
        GroundName.PACKETS: args.packets or args.pcap is not None,
        GroundName.TRACES: args.traces,
    }
    return frozenset(name for name, wanted in asked.items() if wanted or args.everywhere)


def readiness_of(args: argparse.Namespace, feed: Feed) -> Readiness:
    """The --ready option given, or the default of the feed."""
    if args.ready_pattern is not None:
        return OnOutput(pattern=pattern(args.ready_pattern))
    if args.ready_port is not None:
        host, port = host_and_port(args.ready_port)
        return OnPort(host=host, port=port)
    if args.ready_delay is not None:
        return AfterDelay(seconds=args.ready_delay)
    return OnPort(host=feed.host, port=feed.port) if isinstance(feed, FeedSend) else AfterDelay()


def ending_of(args: argparse.Namespace) -> Ending:
    """--finish or --stop."""
    if args.finish is not None:
        return FinishInput(data=decode_escapes(args.finish))
    name = args.stop.upper()
    try:
        return StopSignal(number=signal.Signals[name if name.startswith("SIG") else f"SIG{name}"])
    except KeyError as error:
        raise UsageError(f"--stop {args.stop}: no such signal; use a name such as TERM, INT or QUIT") from error


def seconds(text: str) -> float:
    """A duration: not negative, at most a day. ValueError otherwise, which argparse reports."""
    value = float(text)
    if not 0 <= value <= DAY:
        raise ValueError(text)
    return value


def interrupted(number: int, _frame: object) -> None:
    """End as Ctrl-C does: the program under examination is ended and its feed removed on the way out."""
    raise SystemExit(128 + number)


def show_progress(text: str) -> None:
    """One line that overwrites itself."""
    sys.stderr.write(f"\r\x1b[K{text}")
    sys.stderr.flush()


def no_progress(text: str) -> None:
    """Nothing: standard error is a file or pipe, where a line per sample would only be noise."""
