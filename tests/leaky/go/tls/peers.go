// A TLS server and a TLS client of Go's crypto/tls, in one process, which end their connections as
// asked: peers CERTIFICATE-AND-KEY COUNT close|drop 1.2|1.3.
package main

import (
	"bytes"
	"crypto/tls"
	"fmt"
	"io"
	"log"
	"net"
	"os"
	"strconv"
)

const response = 3000

func main() {
	both, count, end := os.Args[1], os.Args[2], os.Args[3]
	version, known := map[string]uint16{"1.2": tls.VersionTLS12, "1.3": tls.VersionTLS13}[os.Args[4]]
	if !known {
		log.Fatal("no TLS ", os.Args[4])
	}
	certificate, err := tls.LoadX509KeyPair(both, both)
	check(err)
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	check(err)
	connections, err := strconv.Atoi(count)
	check(err)
	done := make(chan bool)
	go func() {
		config := &tls.Config{Certificates: []tls.Certificate{certificate}, MinVersion: version, MaxVersion: version}
		for i := 0; i < connections; i++ {
			plain, err := listener.Accept()
			check(err)
			serve(plain, tls.Server(plain, config), end)
		}
		done <- true
	}()
	// Nobody checks certificates here: the peer is this program.
	config := &tls.Config{InsecureSkipVerify: true, MinVersion: version, MaxVersion: version}
	for i := 0; i < connections; i++ {
		plain, err := net.Dial("tcp", listener.Addr().String())
		check(err)
		request(plain, tls.Client(plain, config), end)
	}
	<-done
	fmt.Println("done")
}

// Answers one request, and hangs up when the client has.
func serve(plain net.Conn, conn *tls.Conn, end string) {
	buffer := make([]byte, 100)
	_, err := conn.Read(buffer)
	check(err)
	_, err = conn.Write(bytes.Repeat([]byte("x"), response))
	check(err)
	// Between two records a missing close_notify is no error to Go.
	_, err = io.Copy(io.Discard, conn)
	check(err)
	// An answer that comes before the client has closed would be unread data there, so a reset.
	_, err = io.Copy(io.Discard, plain)
	check(err)
	hangUp(plain, conn, end)
}

func request(plain net.Conn, conn *tls.Conn, end string) {
	_, err := conn.Write([]byte("hello"))
	check(err)
	_, err = io.ReadFull(conn, make([]byte, response))
	check(err)
	hangUp(plain, conn, end)
}

func hangUp(plain net.Conn, conn *tls.Conn, end string) {
	if end == "close" {
		// Fails when the peer has gone already.
		_ = conn.Close()
	} else {
		_ = plain.Close()
	}
}

func check(err error) {
	if err != nil {
		log.Fatal(err)
	}
}
