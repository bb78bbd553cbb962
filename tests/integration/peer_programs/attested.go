// A program with attested TLS as EGo's library makes it, in Go's own TLS and X.509. It asks for evidence over its key on
// standard output (SHA-256 of the key, in hexadecimal), and reads the report from standard input, in hexadecimal.
//
//	attested ask URL CA      its certificate is shown to the server; prints the status and the body
//	attested serve           listens on loopback, prints the port, answers one connection
package main

import (
	"bufio"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"encoding/hex"
	"fmt"
	"io"
	"log"
	"math/big"
	"net/http"
	"os"
	"time"
)

var input = bufio.NewReader(os.Stdin)

func must[T any](value T, err error) T {
	if err != nil {
		log.Fatal(err)
	}
	return value
}

func report(digest []byte) []byte {
	fmt.Println(hex.EncodeToString(digest))
	line := must(input.ReadString('\n'))
	return must(hex.DecodeString(line[:len(line)-1]))
}

func credentials() tls.Certificate {
	key := must(ecdsa.GenerateKey(elliptic.P256(), rand.Reader))
	digest := sha256.Sum256(must(x509.MarshalPKIXPublicKey(&key.PublicKey)))
	oid := asn1.ObjectIdentifier{1, 3, 6, 1, 4, 1, 311, 105, 1}
	template := &x509.Certificate{
		SerialNumber:    must(rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 128))),
		Subject:         pkix.Name{CommonName: "EGo"},
		NotAfter:        time.Now().AddDate(1, 0, 0),
		ExtraExtensions: []pkix.Extension{{Id: oid, Value: report(digest[:])}},
	}
	der := must(x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key))
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}
}

func ask(url string, authority string) {
	pool := x509.NewCertPool()
	pool.AppendCertsFromPEM(must(os.ReadFile(authority)))
	config := &tls.Config{Certificates: []tls.Certificate{credentials()}, RootCAs: pool}
	client := http.Client{Transport: &http.Transport{TLSClientConfig: config}}
	answer := must(client.Get(url))
	fmt.Printf("%d %s\n", answer.StatusCode, must(io.ReadAll(answer.Body)))
}

func serve() {
	config := &tls.Config{Certificates: []tls.Certificate{credentials()}}
	listener := must(tls.Listen("tcp", "127.0.0.1:0", config))
	fmt.Println(listener.Addr())
	connection := must(listener.Accept())
	fmt.Fprint(connection, "from the enclave")
	connection.Close()
}

func main() {
	if os.Args[1] == "ask" {
		ask(os.Args[2], os.Args[3])
	} else {
		serve()
	}
}
