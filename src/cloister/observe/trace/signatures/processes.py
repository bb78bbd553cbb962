"""Signatures of calls on processes, threads, signals, time and identity. Source: manual pages, section 2."""

__all__ = ["TABLE"]

TABLE = """
execve(pathname:program, argv:strings, envp:environment)
execveat(dirfd:dirfd, pathname:program, argv:strings, envp:environment, flags:flags[at])
exit(status:int)
exit_group(status:int)
fork() -> pid
vfork() -> pid
clone(flags:flags[clone], stack:ptr, parent_tid:ptr, child_tid:ptr, tls:hex) -> pid
clone3(cl_args:clone_args[size], size:size) -> pid
unshare(flags:flags[clone])
setns(fd:fd, nstype:flags[clone])
wait4(pid:int, wstatus:wstatus, options:flags[wait], rusage:ptr) -> pid
waitid(idtype:flags[waitid], id:int, infop:ptr, options:flags[wait], rusage:ptr)
kill(pid:int, sig:signal)
tkill(tid:int, sig:signal)
tgkill(tgid:int, tid:int, sig:signal)
pidfd_open(pid:int, flags:flags[cloexec]) -> fd
pidfd_send_signal(pidfd:fd, sig:signal, info:ptr, flags:hex)
pidfd_getfd(pidfd:fd, targetfd:int, flags:hex) -> fd
ptrace(op:flags[ptrace], pid:int, addr:ptr, data:hex)
prctl(op:flags[prctl], arg2:hex, arg3:hex, arg4:hex, arg5:hex)
arch_prctl(op:flags[arch_prctl], addr:hex)
personality(persona:hex)
seccomp(op:flags[seccomp], flags:hex, args:ptr)
rt_sigaction(signum:signal, act:sigaction_in, oldact:sigaction_out, sigsetsize:size)
rt_sigprocmask(how:flags[sigprocmask], set:sigset, oldset:sigset_out, sigsetsize:size)
rt_sigpending(set:sigset_out, sigsetsize:size)
rt_sigsuspend(mask:sigset, sigsetsize:size)
rt_sigtimedwait(set:sigset, info:ptr, timeout:timespec, sigsetsize:size)
rt_sigqueueinfo(pid:int, sig:signal, info:ptr)
rt_tgsigqueueinfo(tgid:int, tid:int, sig:signal, info:ptr)
rt_sigreturn()
sigaltstack(ss:ptr, old_ss:ptr)
pause()
alarm(seconds:uint)
getitimer(which:flags[itimer], curr_value:ptr)
setitimer(which:flags[itimer], new_value:ptr, old_value:ptr)
timer_create(clockid:flags[clock], sevp:ptr, timerid:ptr)
timer_settime(timerid:int, flags:flags[timer], new_value:ptr, old_value:ptr)
timer_delete(timerid:int)
nanosleep(duration:timespec, rem:ptr)
clock_nanosleep(clockid:flags[clock], flags:flags[timer], t:timespec, remain:ptr)
clock_gettime(clockid:flags[clock], tp:timespec_out)
clock_getres(clockid:flags[clock], res:timespec_out)
clock_settime(clockid:flags[clock], tp:timespec)
gettimeofday(tv:timeval_out, tz:ptr)
settimeofday(tv:timeval, tz:ptr)
time(tloc:ptr)
times(buf:ptr)
futex(uaddr:ptr, op:flags[futex], val:uint, timeout:ptr, uaddr2:ptr, val3:uint)
set_robust_list(head:ptr, len:size)
get_robust_list(pid:int, head_ptr:ptr, len_ptr:ptr)
set_tid_address(tidptr:ptr) -> pid
rseq(rseq:ptr, rseq_len:uint, flags:hex, sig:hex)
getpid() -> pid
getppid() -> pid
gettid() -> pid
getpgid(pid:int) -> pid
setpgid(pid:int, pgid:int)
getpgrp() -> pid
getsid(pid:int) -> pid
setsid() -> pid
getuid()
geteuid()
getgid()
getegid()
setuid(uid:int)
setgid(gid:int)
setreuid(ruid:int, euid:int)
setregid(rgid:int, egid:int)
setresuid(ruid:int, euid:int, suid:int)
setresgid(rgid:int, egid:int, sgid:int)
getresuid(ruid:intp_out, euid:intp_out, suid:intp_out)
getresgid(rgid:intp_out, egid:intp_out, sgid:intp_out)
getgroups(size:int, list:ptr)
setgroups(size:size, list:ptr)
capget(hdrp:ptr, datap:ptr)
capset(hdrp:ptr, datap:ptr)
getrlimit(resource:flags[rlimit], rlim:rlimit_out)
setrlimit(resource:flags[rlimit], rlim:rlimit_in)
prlimit64(pid:int, resource:flags[rlimit], new_limit:rlimit_in, old_limit:rlimit_out)
getrusage(who:flags[rusage], usage:ptr)
getpriority(which:int, who:int)
setpriority(which:int, who:int, prio:int)
sched_yield()
sched_getaffinity(pid:int, cpusetsize:size, mask:ptr)
sched_setaffinity(pid:int, cpusetsize:size, mask:ptr)
sched_getparam(pid:int, param:ptr)
sched_setscheduler(pid:int, policy:int, param:ptr)
sched_getscheduler(pid:int)
sched_get_priority_max(policy:int)
sched_get_priority_min(policy:int)
getcpu(cpu:intp_out, node:intp_out)
uname(buf:utsname)
sysinfo(info:ptr)
sethostname(name:in[len], len:size)
getrandom(buf:out[=], buflen:size, flags:flags[getrandom])
add_key(type:str, description:str, payload:in[plen], plen:size, keyring:int)
request_key(type:str, description:str, callout_info:str, dest_keyring:int)
keyctl(op:int, arg2:hex, arg3:hex, arg4:hex, arg5:hex)
bpf(cmd:int, attr:ptr, size:size) -> fd
perf_event_open(attr:ptr, pid:int, cpu:int, group_fd:fd, flags:hex) -> fd
restart_syscall()
landlock_create_ruleset(attr:ptr, size:size, flags:hex) -> fd
landlock_add_rule(ruleset_fd:fd, rule_type:int, rule_attr:ptr, flags:hex)
landlock_restrict_self(ruleset_fd:fd, flags:hex)
"""
