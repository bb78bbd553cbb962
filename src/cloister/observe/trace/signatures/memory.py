"""Signatures of calls on memory. Source: manual pages, section 2."""

__all__ = ["TABLE"]

TABLE = """
mmap(addr:ptr, length:size, prot:flags[prot], flags:flags[map], fd:fd, offset:hex) -> hex
munmap(addr:ptr, length:size)
mprotect(addr:ptr, length:size, prot:flags[prot])
pkey_mprotect(addr:ptr, length:size, prot:flags[prot], pkey:int)
mremap(old_address:ptr, old_size:size, new_size:size, flags:flags[mremap], new_address:ptr) -> hex
brk(addr:ptr) -> hex
madvise(addr:ptr, length:size, advice:flags[madvise])
process_madvise(pidfd:fd, iovec:ptr, vlen:size, advice:flags[madvise], flags:hex)
mincore(addr:ptr, length:size, vec:ptr)
msync(addr:ptr, length:size, flags:flags[msync])
mlock(addr:ptr, length:size)
mlock2(addr:ptr, length:size, flags:hex)
munlock(addr:ptr, length:size)
mlockall(flags:flags[mlockall])
munlockall()
mseal(addr:ptr, length:size, flags:hex)
memfd_create(name:str, flags:flags[memfd]) -> fd
memfd_secret(flags:flags[memfd_secret]) -> fd
shmget(key:hex, size:size, shmflg:hex)
shmat(shmid:int, shmaddr:ptr, shmflg:hex) -> hex
shmctl(shmid:int, op:int, buf:ptr)
shmdt(shmaddr:ptr)
process_vm_readv(pid:int, local_iov:iov_out[liovcnt], liovcnt:int, remote_iov:ptr, riovcnt:int, flags:hex)
process_vm_writev(pid:int, local_iov:iov_in[liovcnt], liovcnt:int, remote_iov:ptr, riovcnt:int, flags:hex)
userfaultfd(flags:flags[cloexec]) -> fd
membarrier(cmd:int, flags:hex, cpu_id:int)
"""
