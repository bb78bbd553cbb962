"""A long session of a shell, made of commands whose output does not depend on time or process ids."""

import random

__all__ = ["commands_of_a_session"]

FORMS = r"""
echo @N | tr 0-9 a-j | rev
x=$(( @N * 7 )); echo $x
(exit @D); echo $?
f@N() { local a=$1; echo "f:$a"; return @D; }; f@N hi; echo $?
printf '%s\n' l@N m | sort -r | head -2
sleep 0.01 & wait $!; echo "waited $?"
echo @N > t@D; cat t@D >> u; wc -l < u
for i in 1 2 3; do [ $i = 2 ] && continue; echo $i; done | paste -sd,
trap "echo trapped @N" USR1; kill -USR1 $$; trap - USR1
a=(@N b c); echo ${#a[@]} ${a[-1]}
printf "%05d\n" @N
{ echo o; echo e >&2; } 2>&1 | sort
seq @N | awk '{ s += $1 } END { print s }'
echo $(echo $(echo nested @N))
read -r a b <<< "@N two"; echo $b
diff <(seq 3) <(seq 4) | tail -1
set -- a b c; shift; echo $@
case @N in *5) echo five;; *) echo other;; esac
(sh -c 'kill -9 $$'; echo $?) 2>/dev/null
true | false | true; echo ${PIPESTATUS[@]}
(sleep 5 & p=$!; kill $p; wait $p 2>/dev/null; echo $?)
exec 5>fd5; echo @N >&5; exec 5>&-; cat fd5
cd /; cd - >/dev/null; pwd | wc -l
(umask 027; rm -f p@D; touch p@D; stat -c %a p@D)
(ulimit -n 512; ulimit -n)
coproc C { cat; }; echo c@N >&${C[1]}; read -r z <&${C[0]}; echo $z; p=$C_PID; eval "exec ${C[1]}>&-"; wait $p
set -m; sleep 0.02 & sleep 0.03 & wait; set +m; echo waited for jobs
set -m; sleep 5 & kill -STOP $!; kill -CONT $!; kill $!; while wait $!; s=$?; [ $s = 147 ]; do :; done; echo $s; set +m
timeout 0.05 sleep 3; echo $?
head -c @N /dev/zero | wc -c
yes | head -@N | wc -l
perl -e 'print 1 + @N, qq(\n)'
bash -c 'exit @D'; echo $?
env -i /bin/sh -c 'echo $0 $#' a b
sed s/a/b/ <<< a@N
mapfile -t L < <(seq @N); echo ${#L[@]}
cat <<END | wc -c\nhere $((@N + 1))\nEND
""".strip().splitlines()


def commands_of_a_session(count: int) -> str:
    chance = random.Random(7)  # noqa: S311  the same session every time
    lines = []
    for number in range(count):
        form = FORMS[number % len(FORMS)] if number < len(FORMS) else chance.choice(FORMS)
        command = form.replace("@N", str(chance.randint(1, 300))).replace("@D", str(chance.randint(0, 9)))
        lines.append(command.replace("END\\n", "END\n").replace("wc -c\\n", "wc -c\n").replace("))\\n", "))\n"))
    return "\n".join(lines) + "\n"
