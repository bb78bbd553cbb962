# A repository: commits, branches, rebase, clone by path and by transport, packing, checking, stashing, pushing.
export GIT_AUTHOR_DATE='2020-01-01T00:00:00Z' GIT_COMMITTER_DATE='2020-01-01T00:00:00Z' GIT_CONFIG_GLOBAL=/dev/null HOME=$PWD
export GIT_AUTHOR_NAME=a GIT_AUTHOR_EMAIL=a@b GIT_COMMITTER_NAME=a GIT_COMMITTER_EMAIL=a@b
set -e
git init -q -b main origin
cd origin
for i in 1 2 3 4 5 6 7 8; do seq $((i * 50)) >f$i; git add f$i; git commit -qm "c$i"; done
git checkout -q -b side HEAD~5
echo x >g
git add g
git commit -qm side
git rebase -q main
git log --oneline
git gc -q --prune=now
git fsck --full --no-progress
git count-objects -v | grep -v size
cd ..
git clone -q origin copy
git clone -q "file://$PWD/origin" other
cd other
git grep -c 49
git archive HEAD | tar t
sed -i 1d f3
git diff
git stash -q
git stash pop -q
git commit -qam changed
git push -q origin HEAD:refs/heads/changed
git show-ref
