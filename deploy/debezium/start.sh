# The image's entry point. A password may come from a file, as every setting of Likewise.
set -euo pipefail
if [ -n "${DEBEZIUM_PASSWORD_FILE:-}" ]; then
  DEBEZIUM_PASSWORD=$(< "$DEBEZIUM_PASSWORD_FILE")
  export DEBEZIUM_PASSWORD
fi
exec java -Xms256m -Xmx512m -XX:+ExitOnOutOfMemoryError -XX:-UsePerfData \
  -Dlog4j2.configurationFile=/debezium/log4j2.properties -cp '/debezium/jars/*' \
  org.apache.kafka.connect.cli.ConnectStandalone /debezium/worker.properties /debezium/outbox.properties
