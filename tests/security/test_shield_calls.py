"""Every system call of x86-64 is seen by the shields, answered elsewhere in the runtime, or harmless for a reason.

A kernel header with a new call fails this test until somebody has said which it is.
"""

import re
from pathlib import Path

import pytest
from tests.security.shielded_runs import ROOT

HEADERS = [Path("/usr/include/x86_64-linux-gnu/asm/unistd_64.h"), Path("/usr/include/asm/unistd_64.h")]
RULES = (ROOT / "runtime" / "shield" / "rules.c").read_text()
FILTER = (ROOT / "runtime" / "src" / "filter_rules.h").read_text()
ANSWERED = re.compile(r"\{(?:__NR_)?(\w+)(?: /\* (\w+) \*/)?, (?:ALWAYS|ANSWER|UNLESS_SET),")

HARMLESS = {
    "moves no bytes and names nothing: waiting, which shielded descriptors may take part in": """
        poll select epoll_create epoll_create1 epoll_ctl epoll_wait pselect6 ppoll epoll_pwait epoll_pwait2
        pause nanosleep clock_nanosleep rt_sigtimedwait futex_waitv restart_syscall signalfd signalfd4
        timerfd_create timerfd_settime timerfd_gettime eventfd eventfd2 inotify_init inotify_init1
        inotify_rm_watch pidfd_open pidfd_send_signal
    """,
    "of processes, threads, signals and their identity": """
        rt_sigaction rt_sigprocmask rt_sigreturn rt_sigpending rt_sigqueueinfo rt_tgsigqueueinfo sigaltstack
        getpid getppid gettid clone vfork wait4 waitid kill tkill tgkill getuid geteuid getgid getegid setuid
        setgid setreuid setregid setresuid setresgid getresuid getresgid setfsuid setfsgid getgroups setgroups
        setpgid getpgid getpgrp setsid getsid capget capset set_tid_address set_robust_list get_robust_list
        process_mrelease kcmp membarrier exit_group arch_prctl set_thread_area get_thread_area modify_ldt
        seccomp personality prctl ptrace
    """,
    "clocks, timers, scheduling and limits": """
        getitimer alarm setitimer gettimeofday settimeofday time times clock_settime clock_gettime
        clock_getres adjtimex clock_adjtime timer_create timer_settime timer_gettime timer_getoverrun
        timer_delete getrusage sysinfo uname getrlimit setrlimit prlimit64 getpriority setpriority sched_yield
        sched_setparam sched_getparam sched_setscheduler sched_getscheduler sched_get_priority_max
        sched_get_priority_min sched_rr_get_interval sched_setaffinity sched_getaffinity sched_setattr
        sched_getattr ioprio_set ioprio_get getcpu getrandom
    """,
    "of memory and where it lies: the kernel moves nothing out of secret memory": """
        mbind set_mempolicy get_mempolicy migrate_pages move_pages set_mempolicy_home_node process_madvise
        pkey_free memfd_secret process_vm_readv process_vm_writev rseq_slice_yield
    """,
    "memory and messages between the program's own processes, which LIMITATIONS.md leaves to the kernel": """
        shmget shmctl shmdt semget semop semctl semtimedop
    """,
    "goes on with what mq_open(2), msgget(2), io_setup(2) would have given, which are refused in strict enclaves": """
        mq_timedsend mq_timedreceive mq_notify mq_getsetattr msgsnd msgrcv msgctl io_destroy io_getevents
        io_submit io_cancel io_pgetevents io_uring_enter io_uring_register
    """,
    "of the machine, for its administrator; by a descriptor they read a file, and the kernel has none behind it": """
        syslog ustat sysfs vhangup reboot sethostname setdomainname iopl ioperm init_module delete_module
        finit_module kexec_load kexec_file_load perf_event_open
    """,
    "says less than the kernel could, of its own files": """
        landlock_create_ruleset landlock_add_rule landlock_restrict_self cachestat lsm_get_self_attr
        lsm_set_self_attr lsm_list_modules statmount listmount listns uretprobe uprobe futex_wake futex_wait
        futex_requeue
    """,
    "not there in any kernel for x86-64": """
        uselib _sysctl create_module get_kernel_syms query_module nfsservctl getpmsg putpmsg afs_syscall
        tuxcall security lookup_dcookie epoll_ctl_old epoll_wait_old vserver
    """,
}


def calls() -> dict[str, int]:
    header = next((path for path in HEADERS if path.exists()), None)
    if header is None:
        pytest.skip("no kernel headers here (apt install linux-libc-dev)")
    return {name: int(number) for name, number in re.findall(r"#define __NR_(\w+) (\d+)", header.read_text())}


def shielded() -> set[str]:
    """By name, in lower case: newer ones are written without the prefix."""
    return {(old or new).lower() for old, new in re.findall(r"\{(?:__NR_(\w+)|([A-Z0-9_]+)), CALL_\w+, \d\}", RULES)}


def answered() -> set[str]:
    """Whatever the arguments are."""
    return {comment or name for name, comment in ANSWERED.findall(FILTER)}


def test_every_call_has_its_class() -> None:
    harmless = [name for names in HARMLESS.values() for name in names.split()]
    assert len(set(harmless)) == len(harmless), "one class for each"
    assert not set(harmless) & shielded(), "seen, so it must not be called harmless"
    unknown = calls().keys() - shielded() - answered() - set(harmless)
    assert not unknown, f"neither seen by the shields nor called harmless: {sorted(unknown)}"


def test_calls_with_paths_are_all_seen() -> None:
    """By the names that say it: a path, or a directory's descriptor and a path."""
    with_paths = {
        name for name in calls() if re.search(r"at$|at2$|^open|link|dir$|^ch|^l?(get|set|list|remove)xattr|^mk", name)
    }
    apart = {"shmat", "fstat", "seccomp", "execveat", "cachestat", "ustat", "chroot", "mkdir"} | {"open_by_handle_at"}
    assert len(with_paths) > 40
    assert with_paths - shielded() - apart == set()
    assert {"chroot", "mkdir", "fstat", "open_by_handle_at"} <= shielded()
    assert {"execve", "execveat"} <= answered()
