package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"runtime/pprof"

	"github.com/holtvm/holt/internal/fsserver"
	"github.com/holtvm/holt/internal/virtio/fs"
	"github.com/holtvm/holt/internal/virtio/vhostuser"
)

const (
	// serveCommand makes this program serve the directory that its argument
	// names, and nothing else: our file server is in a process of its own, as
	// its peer is.
	serveCommand = "serve-directory"
	// listenFD is the descriptor of the socket that a server is given.
	listenFD = 3
	// profileVariable names the directory for CPU profiles.
	profileVariable = "BENCH_PROFILE"

	fsTag   = "bench"
	fsQueue = 1 // request queues, one for each vCPU
)

// serve serves dir to the one QEMU that connects, as a monitor does.
func serve(dir string) (err error) {
	f := os.NewFile(listenFD, "socket")
	listener, err := net.FileListener(f)
	f.Close()
	if err != nil {
		return fmt.Errorf("serve directory: %w", err)
	}
	conn, err := listener.Accept()
	listener.Close()
	if err != nil {
		return fmt.Errorf("serve directory: %w", err)
	}
	if profiles := os.Getenv(profileVariable); profiles != "" {
		profile, err := os.Create(filepath.Join(profiles, fmt.Sprintf("%d.pprof", os.Getpid())))
		if err != nil {
			return err
		}
		defer profile.Close()
		if err := pprof.StartCPUProfile(profile); err != nil {
			return err
		}
		defer pprof.StopCPUProfile()
	}
	log := slog.New(slog.NewTextHandler(os.Stderr, nil))
	server, err := fsserver.New(dir, fsserver.Options{Logger: log})
	if err != nil {
		return err
	}
	dev, err := fs.New(fsTag, fsQueue, server)
	if err != nil {
		return err
	}
	return errors.Join(vhostuser.Serve(context.Background(), conn.(*net.UnixConn), dev, log), server.Close())
}
