#!/bin/sh
# A CA of your own, and certificates of it, for docker-compose.secure.yml and the tests:
#   sh deploy/tls/make-certificates.sh FOLDER NAME[=SUBJECT,…] …
# A server is named with what clients call it (kafka=DNS:kafka,IP:127.0.0.1), a client by its name alone. FOLDER then holds
# ca.crt and, for each, NAME.crt, NAME.key (PKCS #8, no passphrase) and NAME.pem, both. A CA that is there already signs; its key, ca.key,
# is wanted for nothing else, and belongs elsewhere.
set -eu
days=825
folder=$1
shift
umask 077
mkdir -p "$folder"
cd "$folder"

key() {
  openssl genpkey -algorithm EC -pkeyopt ec_paramgen_curve:P-256 -out "$1" 2>/dev/null
}

if [ ! -f ca.key ]; then
  key ca.key
  printf 'basicConstraints=critical,CA:true\nkeyUsage=critical,keyCertSign,cRLSign\n' > ca.ext
  openssl req -new -key ca.key -subj "/CN=Likewise CA" -out ca.csr
  openssl x509 -req -in ca.csr -signkey ca.key -days $days -sha256 -extfile ca.ext -out ca.crt 2>/dev/null
  rm ca.csr ca.ext
fi

for wanted in "$@"; do
  name=${wanted%%=*}
  key "$name.key"
  {
    printf 'basicConstraints=critical,CA:false\nkeyUsage=critical,digitalSignature\n'
    case $wanted in
      *=*) printf 'extendedKeyUsage=serverAuth\nsubjectAltName=%s\n' "${wanted#*=}" ;;
      *) printf 'extendedKeyUsage=clientAuth\n' ;;
    esac
  } > "$name.ext"
  openssl req -new -key "$name.key" -subj "/CN=$name" -out "$name.csr"
  openssl x509 -req -in "$name.csr" -CA ca.crt -CAkey ca.key -CAcreateserial -days $days -sha256 -extfile "$name.ext" \
    -out "$name.crt" 2>/dev/null
  cat "$name.key" "$name.crt" > "$name.pem"
  rm "$name.csr" "$name.ext"
done
