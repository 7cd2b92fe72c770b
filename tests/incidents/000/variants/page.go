// The page of a shop, in Go: it takes REVIEWS_PORT for a port.
package main

import (
	"fmt"
	"io"
	"log"
	"net/http"
	"os"
	"os/signal"
	"syscall"
)

func main() {
	exitOnTerminate()
	port := os.Getenv("REVIEWS_PORT")
	if port == "" {
		port = "9080"
	}
	reviews := "http://reviews:" + port + "/reviews/0"
	http.HandleFunc("/", func(response http.ResponseWriter, _ *http.Request) {
		fmt.Fprintln(response, read(reviews))
	})
	log.Fatal(http.ListenAndServe(":8080", nil))
}

func read(address string) string {
	answer, err := http.Get(address)
	if err != nil {
		return "Sorry, product reviews are currently unavailable for this book."
	}
	defer answer.Body.Close()
	text, _ := io.ReadAll(answer.Body)
	return string(text)
}

// exitOnTerminate handles SIGTERM: process 1 of a container gets only the signals it handles.
func exitOnTerminate() {
	signals := make(chan os.Signal, 1)
	signal.Notify(signals, syscall.SIGTERM)
	go func() {
		<-signals
		os.Exit(0)
	}()
}
