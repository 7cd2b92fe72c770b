// Server answers GET with what a test wants to know about this process.
package main

import (
	"encoding/json"
	"log"
	"net/http"
	"os"
	"os/signal"
	"runtime"
	"slices"
	"strings"
	"syscall"
)

type answer struct {
	Image   string   `json:"image"`
	Version string   `json:"version"`
	UID     int      `json:"uid"`
	GID     int      `json:"gid"`
	Path    string   `json:"path"`
	Env     []string `json:"env"`
}

func main() {
	exitOnTerminate()
	port := os.Getenv("PORT")
	if port == "" {
		port = "8080"
	}
	http.HandleFunc("/", serve)
	log.Fatal(http.ListenAndServe(":"+port, nil))
}

func serve(response http.ResponseWriter, request *http.Request) {
	names := []string{}
	for _, entry := range os.Environ() {
		name, _, _ := strings.Cut(entry, "=")
		names = append(names, name)
	}
	slices.Sort(names)
	response.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(response).Encode(answer{
		Image: "go", Version: strings.TrimPrefix(runtime.Version(), "go"), UID: os.Getuid(), GID: os.Getgid(),
		Path: request.URL.String(), Env: names,
	})
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
