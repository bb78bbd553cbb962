# What administrators do with files: find, xargs, tar, rsync, split, dd, locks, fifos, time limits.
mkdir -p t/{a,b}/{1,2}
for d in t/*/*; do for i in 1 2 3; do seq $i 100 >$d/f$i; done; done
find t -type f -print0 | xargs -0 -P4 -n5 wc -l | awk '/total/ { s += $1 } END { print s }'
find t -name f1 -exec sh -c 'wc -c <"$1"' _ {} \; | sort | uniq -c
tar cf t.tar t --sort=name --mtime=@0
sha256sum <t.tar
mkdir x
gzip -c t.tar | tar xzf - -C x
diff -r t x/t && echo same
rsync -a t/ r/
rsync -ac --delete x/t/ r/
diff -r t r && echo same again
split -l 10 t/a/1/f1 s.
cat s.* | cmp - t/a/1/f1 && echo whole
dd if=/dev/zero of=zeros bs=1M count=4 status=none
dd if=zeros of=direct bs=64k iflag=direct oflag=direct status=none
cmp zeros direct && echo copied
timeout 0.2 sleep 5
echo "status $?"
tail -f t/a/1/f1 -n1 & sleep 0.3
kill $!
wait $!
echo "status $?"
flock zeros -c 'echo locked'
mkfifo fifo
(echo through >fifo &)
cat fifo
nice -n 5 nice
env -i A=1 env
sort -S1M --parallel=2 -rn t/a/1/f1 | sha256sum
setsid -w sh -c 'exit 3'
echo "status $?"
chroot / echo in another root
