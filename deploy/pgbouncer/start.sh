# DATABASE_URLS: what to pool, as services would name it without a pooler; one or more, with blanks between. All on one server.
set -euo pipefail
umask 077
urls=${DATABASE_URLS:-$(cat "${DATABASE_URLS_FILE:?set DATABASE_URLS or DATABASE_URLS_FILE}")}
for url in $urls; do
  [[ $url =~ ^postgres(ql)?://([^:@/]+):([^@/]+)@ ]] || { echo 'DATABASE_URLS: postgres://user:password@host:5432/database is wanted' >&2; exit 1; }
  echo "\"${BASH_REMATCH[2]}\" \"${BASH_REMATCH[3]}\""
done | sort -u > /tmp/users.txt
[[ ${urls%% *} =~ @([^:/]+)(:([0-9]+))?/ ]]
{ cat /pgbouncer/pgbouncer.ini; printf '[databases]\n* = host=%s port=%s\n' "${BASH_REMATCH[1]}" "${BASH_REMATCH[3]:-5432}"; } > /tmp/pgbouncer.ini
exec pgbouncer -q /tmp/pgbouncer.ini
