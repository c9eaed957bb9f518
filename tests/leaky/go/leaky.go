// A server in Go that forgets to close its connections at the end of the stream.
// `leaky eof_forget --count N --for SECONDS [--leak-every N]`; the peers are connections of its own.
package main

import (
	"fmt"
	"net"
	"os"
	"strconv"
	"time"
)

var held []net.Conn

//go:noinline
func eof_forget_accept(listener net.Listener) net.Conn {
	connection, err := listener.Accept() // LINE: eof_forget opened
	if err != nil {
		panic(err)
	}
	return connection
}

//go:noinline
func eof_forget_handle(connection net.Conn) {
	buffer := make([]byte, 64)
	for {
		if _, err := connection.Read(buffer); err != nil { // LINE: eof_forget touched
			return
		}
	}
}

//go:noinline
func eof_forget_close(connection net.Conn) {
	connection.Close() // LINE: eof_forget closed
}

//go:noinline
func serve(listener net.Listener, count int, every int, done chan int) {
	for i := 0; i < count; i++ {
		connection := eof_forget_accept(listener) // LINE: eof_forget opened caller
		eof_forget_handle(connection)             // LINE: eof_forget touched caller
		if i%every != 0 {
			eof_forget_close(connection)
			continue
		}
		held = append(held, connection)
	}
	done <- len(held)
}

func option(name string, value int) int {
	for i := 1; i+1 < len(os.Args); i++ {
		if os.Args[i] == name {
			value, _ = strconv.Atoi(os.Args[i+1])
		}
	}
	return value
}

func main() {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		panic(err)
	}
	count, done := option("--count", 3), make(chan int)
	go serve(listener, count, option("--leak-every", 1), done)
	for i := 0; i < count; i++ {
		peer, err := net.Dial("tcp", listener.Addr().String())
		if err != nil {
			panic(err)
		}
		peer.Close()
	}
	fmt.Println("ready", <-done)
	time.Sleep(time.Duration(option("--for", 30)) * time.Second)
}
