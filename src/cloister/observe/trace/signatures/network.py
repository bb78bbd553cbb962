"""Signatures of calls on sockets. Source: manual pages, section 2."""

__all__ = ["TABLE"]

TABLE = """
socket(domain:flags[domain], type:flags[socktype], protocol:int) -> fd
socketpair(domain:flags[domain], type:flags[socktype], protocol:int, sv:fdpair)
bind(sockfd:fd, addr:sockaddr_in[addrlen], addrlen:int)
connect(sockfd:fd, addr:sockaddr_in[addrlen], addrlen:int)
listen(sockfd:fd, backlog:int)
accept(sockfd:fd, addr:sockaddr_out[*addrlen], addrlen:intp) -> fd
accept4(sockfd:fd, addr:sockaddr_out[*addrlen], addrlen:intp, flags:flags[socktype]) -> fd
getsockname(sockfd:fd, addr:sockaddr_out[*addrlen], addrlen:intp)
getpeername(sockfd:fd, addr:sockaddr_out[*addrlen], addrlen:intp)
sendto(sockfd:fd, buf:in[len], len:size, flags:flags[msg], dest_addr:sockaddr_in[addrlen], addrlen:int) -> out
recvfrom(sockfd:fd, buf:out[=], len:size, flags:flags[msg], src_addr:sockaddr_out[*addrlen], addrlen:intp) -> in
sendmsg(sockfd:fd, msg:msghdr_in, flags:flags[msg]) -> out
recvmsg(sockfd:fd, msg:msghdr_out, flags:flags[msg]) -> in
sendmmsg(sockfd:fd, msgvec:mmsghdr_in[vlen], vlen:uint, flags:flags[msg])
recvmmsg(sockfd:fd, msgvec:mmsghdr_out[=], vlen:uint, flags:flags[msg], timeout:timespec)
shutdown(sockfd:fd, how:flags[shutdown])
setsockopt(sockfd:fd, level:flags[socklevel], optname:sockopt[level], optval:in[optlen], optlen:int)
getsockopt(sockfd:fd, level:flags[socklevel], optname:sockopt[level], optval:out[*optlen], optlen:intp)
"""
