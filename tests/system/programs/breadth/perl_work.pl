# Hashes, forks, threads, sockets, alarms, pipes and regular expressions.
use strict;
use threads;
use Socket;
use POSIX;
$| = 1;
my %kept;
$kept{$_} = join '', reverse split //, $_ for 1 .. 20000;
print scalar(keys %kept), " $kept{12345}\n";
my @children = map { my $n = $_; my $pid = fork; exit $n unless $pid; $pid } 1 .. 5;
for (@children) { waitpid $_, 0; print $? >> 8, "\n" }
my @threads = map { my $n = $_; threads->create(sub { my $sum = 0; $sum += $_ for 1 .. 10000; $sum + $n }) } 1 .. 4;
print $_->join, "\n" for @threads;
socketpair(my $here, my $there, AF_UNIX, SOCK_STREAM, 0);
syswrite $here, "x";
sysread $there, my $byte, 1;
print "$byte\n";
$SIG{ALRM} = sub { die "alarm\n" };
eval { alarm 1; select undef, undef, undef, 5 };
print $@;
print `echo back; printf 'b\\na\\n' | sort`;
open my $pipe, '|-', 'cat' or die;
print $pipe "piped\n";
close $pipe;
my $matches = () = ('abc ' x 10000) =~ /b/g;
print "$matches\n", eval('sub { $_[0] * 2 }->(21)'), "\n";
exec 'sh', '-c', 'echo executed $0', 'name';
