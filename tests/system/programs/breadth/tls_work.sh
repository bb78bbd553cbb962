# openssl as a server and as a client, curl by HTTP and HTTPS, keys, signatures, encryption.
openssl req -x509 -newkey rsa:2048 -nodes -keyout key -out cert -days 2 -subj /CN=localhost -addext subjectAltName=IP:127.0.0.1 2>/dev/null
until_open() {
    for _ in $(seq 100); do (echo >/dev/tcp/127.0.0.1/$1) 2>/dev/null && return; sleep 0.1; done
    echo "nobody listens"
}
port=$(/usr/bin/python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])')
openssl s_server -quiet -accept $port -cert cert -key key -www >/dev/null 2>&1 &
server=$!
until_open $port
echo Q | openssl s_client -connect 127.0.0.1:$port -CAfile cert 2>/dev/null | grep -E '^Verification|Cipher is'
curl -s --cacert cert https://127.0.0.1:$port/ | grep -c Cipher
curl -sk --tls-max 1.2 https://127.0.0.1:$port/ | grep -c TLSv1.2
curl -s https://127.0.0.1:$port/
echo "curl $?"
kill $server
wait $server 2>/dev/null
mkdir www
seq 50000 >www/big
(cd www && exec /usr/bin/python3 -c '
import http.server
server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), http.server.SimpleHTTPRequestHandler)
open("port", "w").write(str(server.server_address[1]) + "\n")
server.serve_forever()' 2>/dev/null) &
server=$!
for _ in $(seq 100); do [ -s www/port ] && break; sleep 0.1; done
port=$(cat www/port)
curl -s http://127.0.0.1:$port/big | sha256sum
curl -s --no-progress-meter --parallel "http://127.0.0.1:$port/big?[1-5]" -o 'part#1'
sha256sum <part1
cmp part1 part5
curl -s -o /dev/null -w '%{http_code}\n' http://127.0.0.1:$port/none
curl -s -T cert -o /dev/null -w '%{http_code}\n' http://127.0.0.1:$port/x
kill $server
wait $server
echo "status $?"
openssl enc -aes-256-cbc -pbkdf2 -k a -in www/big -out sealed
openssl enc -d -aes-256-cbc -pbkdf2 -k a -in sealed | sha256sum
openssl ecparam -genkey -name prime256v1 -noout -out signer
openssl dgst -sha256 -sign signer -out signature www/big
openssl pkey -in signer -pubout -out public
openssl dgst -sha256 -verify public -signature signature www/big
