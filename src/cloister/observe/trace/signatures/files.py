"""Signatures of calls on files, directories, descriptors and waiting for them. Source: manual pages, section 2."""

__all__ = ["TABLE"]

TABLE = """
read(fd:fd, buf:out[=], count:size) -> in
write(fd:fd, buf:in[count], count:size) -> out
pread64(fd:fd, buf:out[=], count:size, offset:offset) -> in
pwrite64(fd:fd, buf:in[count], count:size, offset:offset) -> out
readv(fd:fd, iov:iov_out[iovcnt], iovcnt:int) -> in
writev(fd:fd, iov:iov_in[iovcnt], iovcnt:int) -> out
preadv(fd:fd, iov:iov_out[iovcnt], iovcnt:int, pos_l:offset, pos_h:offset) -> in
pwritev(fd:fd, iov:iov_in[iovcnt], iovcnt:int, pos_l:offset, pos_h:offset) -> out
preadv2(fd:fd, iov:iov_out[iovcnt], iovcnt:int, pos_l:offset, pos_h:offset, flags:hex) -> in
pwritev2(fd:fd, iov:iov_in[iovcnt], iovcnt:int, pos_l:offset, pos_h:offset, flags:hex) -> out
open(pathname:path, flags:flags[open], mode:creatmode[flags]) -> fd
openat(dirfd:dirfd, pathname:path, flags:flags[open], mode:creatmode[flags]) -> fd
openat2(dirfd:dirfd, pathname:path, how:ptr, size:size) -> fd
creat(pathname:path, mode:mode) -> fd
close(fd:fd)
close_range(first:uint, last:uint, flags:flags[close_range])
stat(pathname:path, statbuf:stat)
fstat(fd:fd, statbuf:stat)
lstat(pathname:path, statbuf:stat)
newfstatat(dirfd:dirfd, pathname:path, statbuf:stat, flags:flags[at])
statx(dirfd:dirfd, pathname:path, flags:flags[at], mask:hex, statxbuf:statx)
statfs(pathname:path, buf:ptr)
fstatfs(fd:fd, buf:ptr)
access(pathname:path, mode:flags[access])
faccessat(dirfd:dirfd, pathname:path, mode:flags[access])
faccessat2(dirfd:dirfd, pathname:path, mode:flags[access], flags:flags[at])
lseek(fd:fd, offset:offset, whence:flags[whence])
dup(oldfd:fd) -> fd
dup2(oldfd:fd, newfd:fdnum) -> fd
dup3(oldfd:fd, newfd:fdnum, flags:flags[open]) -> fd
pipe(pipefd:fdpair)
pipe2(pipefd:fdpair, flags:flags[cloexec])
fcntl(fd:fd, op:flags[fcntl], arg:fcntlarg[op])
ioctl(fd:fd, op:flags[ioctl], argp:hex)
flock(fd:fd, op:flags[flock])
fsync(fd:fd)
fdatasync(fd:fd)
sync_file_range(fd:fd, offset:offset, nbytes:offset, flags:hex)
syncfs(fd:fd)
truncate(pathname:path, length:offset)
ftruncate(fd:fd, length:offset)
fallocate(fd:fd, mode:hex, offset:offset, len:offset)
fadvise64(fd:fd, offset:offset, len:offset, advice:int)
readahead(fd:fd, offset:offset, count:size)
getdents(fd:fd, dirp:out[=], count:size)
getdents64(fd:fd, dirp:out[=], count:size)
getcwd(buf:out[=], size:size)
chdir(pathname:path)
fchdir(fd:fd)
rename(oldpath:path, newpath:path)
renameat(olddirfd:dirfd, oldpath:path, newdirfd:dirfd, newpath:path)
renameat2(olddirfd:dirfd, oldpath:path, newdirfd:dirfd, newpath:path, flags:flags[rename])
mkdir(pathname:path, mode:mode)
mkdirat(dirfd:dirfd, pathname:path, mode:mode)
rmdir(pathname:path)
link(oldpath:path, newpath:path)
linkat(olddirfd:dirfd, oldpath:path, newdirfd:dirfd, newpath:path, flags:flags[at])
symlink(target:path, linkpath:path)
symlinkat(target:path, newdirfd:dirfd, linkpath:path)
unlink(pathname:path)
unlinkat(dirfd:dirfd, pathname:path, flags:flags[at])
readlink(pathname:path, buf:out[=], bufsiz:size)
readlinkat(dirfd:dirfd, pathname:path, buf:out[=], bufsiz:size)
mknod(pathname:path, mode:mode, dev:hex)
mknodat(dirfd:dirfd, pathname:path, mode:mode, dev:hex)
chmod(pathname:path, mode:mode)
fchmod(fd:fd, mode:mode)
fchmodat(dirfd:dirfd, pathname:path, mode:mode)
fchmodat2(dirfd:dirfd, pathname:path, mode:mode, flags:flags[at])
chown(pathname:path, owner:int, group:int)
fchown(fd:fd, owner:int, group:int)
lchown(pathname:path, owner:int, group:int)
fchownat(dirfd:dirfd, pathname:path, owner:int, group:int, flags:flags[at])
umask(mask:mode)
utime(filename:path, times:ptr)
utimes(filename:path, times:ptr)
utimensat(dirfd:dirfd, pathname:path, times:ptr, flags:flags[at])
futimesat(dirfd:dirfd, pathname:path, times:ptr)
chroot(path:path)
mount(source:path, target:path, filesystemtype:str, mountflags:hex, data:ptr)
umount2(target:path, flags:hex)
pivot_root(new_root:path, put_old:path)
setxattr(path:path, name:str, value:in[size], size:size, flags:hex)
lsetxattr(path:path, name:str, value:in[size], size:size, flags:hex)
fsetxattr(fd:fd, name:str, value:in[size], size:size, flags:hex)
getxattr(path:path, name:str, value:out[=], size:size)
lgetxattr(path:path, name:str, value:out[=], size:size)
fgetxattr(fd:fd, name:str, value:out[=], size:size)
listxattr(path:path, list:out[=], size:size)
removexattr(path:path, name:str)
sendfile(out_fd:fd, in_fd:fd, offset:ptr, count:size) -> both
copy_file_range(fd_in:fd, off_in:ptr, fd_out:fd, off_out:ptr, len:size, flags:hex) -> both
splice(fd_in:fd, off_in:ptr, fd_out:fd, off_out:ptr, len:size, flags:flags[splice]) -> both
tee(fd_in:fd, fd_out:fd, len:size, flags:flags[splice]) -> both
vmsplice(fd:fd, iov:iov_in[nr_segs], nr_segs:int, flags:flags[splice]) -> out
poll(fds:pollfds[nfds], nfds:int, timeout:int)
ppoll(fds:pollfds[nfds], nfds:int, tmo_p:timespec, sigmask:sigset, sigsetsize:size)
select(nfds:int, readfds:ptr, writefds:ptr, exceptfds:ptr, timeout:timeval)
pselect6(nfds:int, readfds:ptr, writefds:ptr, exceptfds:ptr, timeout:timespec, sigmask:ptr)
epoll_create(size:int) -> fd
epoll_create1(flags:flags[cloexec]) -> fd
epoll_ctl(epfd:fd, op:flags[epoll_ctl], fd:fd, event:epoll_event)
epoll_wait(epfd:fd, events:epoll_events, maxevents:int, timeout:int)
epoll_pwait(epfd:fd, events:epoll_events, maxevents:int, timeout:int, sigmask:sigset, sigsetsize:size)
epoll_pwait2(epfd:fd, events:epoll_events, maxevents:int, timeout:timespec, sigmask:sigset, sigsetsize:size)
eventfd(initval:uint) -> fd
eventfd2(initval:uint, flags:flags[eventfd]) -> fd
signalfd(fd:fd, mask:sigset, sizemask:size) -> fd
signalfd4(fd:fd, mask:sigset, sizemask:size, flags:flags[cloexec]) -> fd
timerfd_create(clockid:flags[clock], flags:flags[cloexec]) -> fd
timerfd_settime(fd:fd, flags:flags[timer], new_value:ptr, old_value:ptr)
timerfd_gettime(fd:fd, curr_value:ptr)
inotify_init() -> fd
inotify_init1(flags:flags[cloexec]) -> fd
inotify_add_watch(fd:fd, pathname:path, mask:hex)
inotify_rm_watch(fd:fd, wd:int)
io_uring_setup(entries:uint, params:ptr) -> fd
io_uring_enter(fd:fd, to_submit:uint, min_complete:uint, flags:hex, sig:ptr, sz:size)
io_uring_register(fd:fd, opcode:uint, arg:ptr, nr_args:uint)
"""
