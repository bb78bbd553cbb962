#!/bin/bash
# What secret_user.c does, as a script. No pipe and no here-document carries a secret: those are outside the enclave.
hash() {
  local text=$1 hash=-3750763034362895579 code
  while [ -n "$text" ]; do
    printf -v code %d "'$text"
    hash=$(( (hash ^ code) * 1099511628211 ))
    text=${text:1}
  done
  printf "$2 %016x\n" "$hash"
}

read -r content < "$3"
if [ "$1" = child ]; then
  hash "$ARGUMENT" "child's argument"
  hash "$SECRET" "child's variable"
  hash "$content" "child's file"
  exit
fi
hash "$2" argument
hash "$SECRET" variable
hash "$content" file
ARGUMENT=$2 "$BASH" "$0" child - "$3" || exit 3
sleep 0.06
[ "$1" != crash ] || kill -ABRT $$
