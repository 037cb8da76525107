# DATABASE_URLS, or a file of them in DATABASE_URLS_FILE: what to pool, as services would name it without a pooler; one or
# more, with blanks between, all on one server. What is no letter or digit stands as %xx, as in every URL.
# PGBOUNCER_SETTINGS: lines for pgbouncer.ini, over those that are there.
set -efuo pipefail
umask 077
here=$(dirname "$0")
work=${TMPDIR:-/tmp}

fail() { echo "DATABASE_URLS: $1" >&2; exit 1; }
decode() {
  [[ ${1//%[0-9A-Fa-f][0-9A-Fa-f]/} != *%* ]] || fail 'a % has to be written as %25'
  local text=${1//\\/\\\\}
  printf '%b' "${text//%/\\x}"
}
account() {
  local user password
  user=$(decode "$1")
  password=$(decode "$2")
  printf '"%s" "%s"\n' "${user//\"/\"\"}" "${password//\"/\"\"}"
}
# To PostgreSQL as the URL says: a pooler that asks for less would undo what its services ask for.
tls() {
  local name query="&$1"
  [[ $query =~ '&sslmode='([^\&]*) ]] || return 0
  [[ ${BASH_REMATCH[1]} =~ ^(disable|verify-full)$ ]] || fail 'sslmode may be verify-full or disable'
  echo "server_tls_sslmode = ${BASH_REMATCH[1]}"
  [[ ${BASH_REMATCH[1]} = verify-full ]] || return 0
  [[ $query = *'&sslrootcert='* ]] || fail 'sslmode=verify-full wants sslrootcert, the path of a CA'
  for name in rootcert:ca cert:cert key:key; do
    [[ $query =~ "&ssl${name%:*}="([^\&]*) ]] || continue
    echo "server_tls_${name#*:}_file = $(decode "${BASH_REMATCH[1]}")"
  done
}

urls=${DATABASE_URLS:-$(cat "${DATABASE_URLS_FILE:?set DATABASE_URLS or DATABASE_URLS_FILE}")}
: > "$work/users.txt"
server=''
for url in $urls; do
  [[ $url =~ ^postgres(ql)?://([^:@/]+):([^@/]+)@([^:/?]+)(:([0-9]+))?/[^?]*(\?(.*))?$ ]] ||
    fail 'postgres://user:password@host:5432/database is wanted'
  user=${BASH_REMATCH[2]} password=${BASH_REMATCH[3]} query=${BASH_REMATCH[8]}
  at="* = host=${BASH_REMATCH[4]} port=${BASH_REMATCH[6]:-5432}"
  by=$(tls "$query")
  [[ -n $server ]] || server=$at settings=$by
  [[ $server = "$at" && $settings = "$by" ]] || fail 'all must be on one server, and be as safe'
  account "$user" "$password" >> "$work/users.txt"
done
[[ -n $server ]] || fail 'there is none'
sort -u -o "$work/users.txt" "$work/users.txt"
{
  cat "$here/pgbouncer.ini"
  printf '%s\n' "auth_file = $work/users.txt" "$settings" "${PGBOUNCER_SETTINGS-}" '[databases]' "$server"
} > "$work/pgbouncer.ini"
exec pgbouncer -q "$work/pgbouncer.ini"
