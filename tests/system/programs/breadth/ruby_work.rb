# Threads, fork, sockets, fibers, a ractor, signals, deep recursion, children.
require 'digest'
require 'open3'
require 'socket'

puts (1..8).map { |i| Thread.new { (1..20000).sum * i } }.map(&:value).inspect
reader, writer = IO.pipe
pid = fork { reader.close; writer.puts 'child'; exit! 5 }
writer.close
puts reader.read
Process.wait pid
puts $?.exitstatus
server = TCPServer.new('127.0.0.1', 0)
Thread.new { peer = server.accept; peer.puts peer.gets.upcase; peer.close }
client = TCPSocket.new('127.0.0.1', server.addr[1])
client.puts 'hey'
puts client.gets
said, status = Open3.capture2('sort', stdin_data: "b\na\n")
puts said, status.exitstatus
kept = {}
50000.times { |i| kept["k#{i}"] = [i] }
GC.start
puts kept.size
fibers = 200.times.map { |i| Fiber.new { Fiber.yield i; i * 2 } }
puts fibers.sum(&:resume), fibers.sum(&:resume)
trap('USR1') { puts 'signal' }
Process.kill 'USR1', $$
sleep 0.1
puts Digest::SHA256.hexdigest('a')
def deeper(depth) = deeper(depth + 1)
begin
  deeper 0
rescue SystemStackError
  puts 'too deep'
end
ractor = Ractor.new { Ractor.receive * 2 }
ractor.send 21
puts ractor.take
system 'exit 3'
puts $?.exitstatus, `echo back`
exec 'sh', '-c', 'echo executed $0', 'name'
