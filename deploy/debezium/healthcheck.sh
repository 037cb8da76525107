# Healthy while the connector's task runs: a worker goes on without a word when its task has failed.
# A shell's own TCP, since the image has no HTTP client for certain.
set -euo pipefail
exec 3<> "/dev/tcp/127.0.0.1/$CONNECT_PORT"
printf 'GET /connectors/likewise-outbox/status HTTP/1.0\r\n\r\n' >&3
grep -q '"tasks":\[{"id":0,"state":"RUNNING"' <&3
